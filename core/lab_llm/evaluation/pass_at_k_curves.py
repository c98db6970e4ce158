"""pass@k over k for every evaluation set, with intervals over its problems."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

from lab_llm.evaluation.pass_at_k import pass_at_k

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CONFIDENCE = 0.95
NUM_RESAMPLES = 2000
"""Of the bootstrap; the ends of a 95% interval then vary by about 1/20 of its width."""
INTERVAL = f"{CONFIDENCE:.0%}, percentile bootstrap over problems, {NUM_RESAMPLES} resamples"
PANELS_A_ROW = 3


@dataclass(frozen=True)
class Bounded:
    """A mean over problems with the ends of its 95% interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Curve:
    """One set: accuracy (avg@num_samples), and pass@k for each of `ks`."""

    num_problems: int
    num_samples: int
    accuracy: Bounded
    ks: tuple[int, ...]
    pass_at_k: tuple[Bounded, ...]

    def as_json(self) -> dict[str, object]:
        """Plain values: `pass_at_k` as a list of k with its interval."""
        points = [{"k": k} | asdict(p) for k, p in zip(self.ks, self.pass_at_k, strict=True)]
        return asdict(self) | {"ks": list(self.ks), "pass_at_k": points}


def curve(rewards: Sequence[Sequence[float]], rng: np.random.Generator) -> Curve:
    """The curve of one set from the rewards of each problem's samples, (num_problems, num_samples).

    A sample is correct where its reward is 1. The intervals are percentile bootstraps over
    problems: they stay within 0 and 1 and need not be symmetric, where a t interval would leave
    the range once most problems are always or never solved. Every quantity is resampled with the
    same problems. A set whose problems all have one value gets an interval of no width.
    """
    num_samples = len(rewards[0])
    ks = powers_of_two(num_samples)
    correct = [sum(reward == 1.0 for reward in row) for row in rewards]
    passed = [[pass_at_k(num_samples, c, k) for k in ks] for c in correct]
    items = np.column_stack([np.mean(rewards, axis=1), np.array(passed)])
    accuracy, *points = bootstrap(items, rng)
    return Curve(len(rewards), num_samples, accuracy, ks, tuple(points))


def powers_of_two(largest: int) -> tuple[int, ...]:
    """1, 2, 4, ... and last `largest` itself."""
    return (*(2**i for i in range((largest - 1).bit_length())), largest)


def bootstrap(items: np.ndarray, rng: np.random.Generator) -> list[Bounded]:
    """Mean and percentile interval of each column of `items` (num_problems, num_columns)."""
    n = len(items)
    counts = rng.multinomial(n, np.full(n, 1 / n), size=NUM_RESAMPLES)
    tails = ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2)
    lows, highs = np.quantile(counts @ items / n, tails, axis=0)
    means = items.mean(0)
    return [Bounded(*map(float, ends)) for ends in zip(means, lows, highs, strict=True)]


def draw(curves: Mapping[str, Curve]) -> "Figure":
    """One panel a set: pass@k with its interval over k, accuracy and its interval in the title."""
    from matplotlib.figure import Figure

    columns = min(PANELS_A_ROW, len(curves))
    rows = -(-len(curves) // columns)
    figure = Figure(figsize=(3.2 * columns, 2.9 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False, sharey=True).flat
    for (name, found), panel in zip(curves.items(), panels, strict=False):
        lows, highs = [p.low for p in found.pass_at_k], [p.high for p in found.pass_at_k]
        panel.fill_between(found.ks, lows, highs, alpha=0.25, linewidth=0)
        panel.plot(found.ks, [p.mean for p in found.pass_at_k], marker="o", markersize=4)
        panel.set_xscale("log", base=2)
        panel.set_xticks(found.ks, [str(k) for k in found.ks])
        panel.set_xticks([], minor=True)
        panel.set_ylim(0, 1)
        panel.grid(alpha=0.3)
        panel.set_xlabel("k")
        a = found.accuracy
        title = f"avg@{found.num_samples} {a.mean:.3f} [{a.low:.3f}, {a.high:.3f}]"
        heading = f"{name}, {found.num_problems} problems\n{title}"
        panel.set_title(heading, fontsize=9, parse_math=False)
    for unused in panels:
        unused.set_axis_off()
    for panel in figure.axes[::columns]:
        panel.set_ylabel("pass@k")
    return figure

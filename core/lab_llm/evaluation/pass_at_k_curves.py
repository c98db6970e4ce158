"""pass@k over k for every evaluation set, with intervals over its problems."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
from labrun.results.statistics.bootstrap import CONFIDENCE, NUM_RESAMPLES, over_problems
from labrun.results.statistics.intervals import Bounded
from labrun.results.statistics.success_rates import pass_at_each, powers_of_two

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INTERVAL = f"{CONFIDENCE:.0%}, percentile bootstrap over problems, {NUM_RESAMPLES} resamples"
PANELS_A_ROW = 3


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
    passed = pass_at_each(num_samples, correct, ks)
    items = np.column_stack([np.mean(rewards, axis=1), passed])
    accuracy, *points = over_problems(items, rng)
    return Curve(len(rewards), num_samples, accuracy, ks, tuple(points))


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
    meaning = f"band and brackets: {CONFIDENCE:.0%} interval over problems"
    figure.supxlabel(meaning, fontsize=8, color="0.35")
    return figure

"""Learning curves: a metric over steps, samples, seconds or another cost."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from labrun.results.arms import Arm
from labrun.results.costs import STEPS, cost_at, label_of
from labrun.results.directions import is_rate
from labrun.results.figures import style
from labrun.results.points import points
from labrun.results.statistics.intervals import t_quantile
from labrun.score import seeds_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARKED = 20
"""Points up to which each is marked."""
Bounds = tuple[float, float]


@dataclass(frozen=True)
class Curve:
    """Mean over seeds at each step that they all have, half its 95% t-interval, and the cost there.

    mean, half_width, cost: (steps,); `half_width` is nan of one seed.
    """

    steps: Sequence[int]
    cost: np.ndarray
    mean: np.ndarray
    half_width: np.ndarray
    num_seeds: int


def draw(
    compared: Sequence[Arm],
    metrics: Sequence[str],
    *,
    smooth: int = 1,
    cost: str = STEPS,
    width: str = "page",
    says: bool = True,
) -> "Figure":
    """One panel a metric: mean over seeds, with a band of the 95% t-interval over seeds, of which a
    rate's is drawn between 0 and 1 only.

    A metric is a logged series (`reward`), of which `smooth` steps are averaged, or a score over
    steps (`in_domain/accuracy`), drawn as it was taken. With `says` the figure says what line and
    band are.
    """
    with style.in_style():
        figure, axes = style.panels(len(metrics), width=width)
        ends = [
            _panel(axis, compared, metric, smooth, cost)
            for axis, metric in zip(axes, metrics, strict=True)
        ]
        style.name_lines(figure, axes, ends)
        if says:
            style.explain(figure, meaning(compared))
    return figure


def _panel(
    axis: "Axes", compared: Sequence[Arm], metric: str, smooth: int, cost: str
) -> dict[str, float]:
    from matplotlib.ticker import MaxNLocator

    logged = any(metric in run.series() for arm in compared for run in arm.runs)
    window = smooth if logged else 1
    ends = {}
    for index, arm in enumerate(compared):
        curve = curve_of(arm, metric, smooth=window, cost=cost)
        if curve is not None:
            _line(axis, curve, arm.label, index, is_rate=is_rate(metric))
            known = curve.mean[np.isfinite(curve.mean)]
            ends |= {arm.label: float(known[-1])} if len(known) else {}
    title = f"mean of the last {window} logged steps" if window > 1 else ""
    axis.set_title(title, fontsize=7, color="0.35", loc="left")
    axis.set_ylabel(metric, parse_math=False)
    axis.set_xlabel(label_of(cost), parse_math=False)
    axis.margins(x=0.02)
    axis.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    return ends


def curve_of(arm: Arm, metric: str, *, smooth: int = 1, cost: str = STEPS) -> Curve | None:
    """The arm's curve; None where no run has the metric, or no step is common to those that do."""
    having = [(run, found) for run in arm.runs if (found := points(run, metric))]
    steps = sorted(set.intersection(*(set(found) for _, found in having))) if having else []
    if not steps:
        return None
    values = np.array([smoothed([found[s] for s in steps], smooth) for _, found in having])
    costs = np.mean([cost_at(run, cost, steps) for run, _ in having], axis=0)
    return Curve(steps, costs, values.mean(0), _half_widths(values), len(having))


def _half_widths(values: np.ndarray) -> np.ndarray:
    seeds = len(values)
    if seeds == 1:
        return np.full(values.shape[1], np.nan)
    return t_quantile(seeds - 1, 0.95) * values.std(0, ddof=1) / np.sqrt(seeds)


def _line(axis: "Axes", curve: Curve, label: str, index: int, *, is_rate: bool) -> None:
    if curve.num_seeds > 1:
        outside = ((curve.mean < 0) | (curve.mean > 1)).any()
        bounds = (0.0, 1.0) if is_rate and not outside else (-np.inf, np.inf)
        _band(axis, curve, style.colour(index), bounds=bounds)
    marker = style.marker(index) if len(curve.steps) <= MARKED else None
    axis.plot(curve.cost, curve.mean, label=label, marker=marker, **style.look(index))


def _band(axis: "Axes", curve: Curve, colour: str, *, bounds: Bounds) -> None:
    """A polygon for each stretch of known values; `fill_between` takes four times as long.

    It ends at the bounds, if there are any. The line is to be plotted next: it fits the axes to
    both.
    """
    from matplotlib.patches import Polygon

    ends = (curve.mean - curve.half_width, curve.mean + curve.half_width)
    low, high = (np.clip(end, *bounds) for end in ends)
    for known in np.ma.clump_unmasked(np.ma.masked_invalid(high)):
        cost = np.concatenate([curve.cost[known], curve.cost[known][::-1]])
        around = np.column_stack([cost, np.concatenate([low[known], high[known][::-1]])])
        axis.add_artist(Polygon(around, color=colour, alpha=0.18, lw=0))
        axis.update_datalim(around)


def smoothed(values: Sequence[float], window: int) -> np.ndarray:
    """Mean over the last `window` values up to each one; nan where one of them is not finite."""
    given = np.asarray(values, float)
    finite = np.isfinite(given)
    ends = np.arange(1, len(given) + 1)
    starts = np.maximum(ends - window, 0)
    sums = np.cumsum(np.insert(np.where(finite, given, 0.0), 0, 0.0))
    missing = np.cumsum(np.insert(~finite, 0, False))
    means = (sums[ends] - sums[starts]) / (ends - starts)
    return np.where(missing[ends] > missing[starts], np.nan, means)


def meaning(compared: Sequence[Arm]) -> str:
    """What line and band are, in words."""
    seeds = sorted({len(arm.runs) for arm in compared})
    if seeds == [1]:
        return "one seed an arm: no band"
    return f"line: mean over {seeds_text(seeds)}; band: 95% t-interval over seeds"

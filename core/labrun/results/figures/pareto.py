"""Score against cost: which arms nothing beats in both."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from labrun.results.arms import Arm
from labrun.results.costs import SECONDS, cost_at, label_of
from labrun.results.directions import direction
from labrun.results.figures import style
from labrun.results.points import points
from labrun.results.statistics.intervals import Interval, t_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw(
    compared: Sequence[Arm],
    metrics: Sequence[str],
    *,
    lower: Sequence[str] = (),
    cost: str = SECONDS,
    width: str = "page",
) -> "Figure":
    """One panel a metric: each arm's last value over what it cost until then, means over seeds with
    95% t-intervals. A line joins the arms that no other beats in both.

    Of the metrics in `lower`, and of those whose name says so, less is better. Where the name says
    nothing and `lower` neither, no line is drawn.
    """
    with style.in_style():
        figure, axes = style.panels(len(metrics), width=width)
        for axis, metric in zip(axes, metrics, strict=True):
            task, _, name = metric.rpartition("/")
            _panel(axis, compared, metric, cost, sign=direction(name, lower=lower, task=task))
        if not style.is_direct([arm.label for arm in compared]):
            style.legend(figure, axes)
        said = "mean over seeds, with 95% t-intervals where there are several; line: Pareto front"
        style.explain(figure, said)
    return figure


def _panel(axis: "Axes", compared: Sequence[Arm], metric: str, cost: str, *, sign: int) -> None:
    found = {arm.label: place for arm in compared if (place := place_of(arm, metric, cost))}
    for index, arm in enumerate(compared):
        if arm.label in found:
            x, y = found[arm.label]
            _point(axis, x, y, arm.label, index)
            if style.is_direct([arm.label for arm in compared]):
                _name(axis, x, y, arm.label, index)
    if sign:
        places = {label: (x.mean, sign * y.mean) for label, (x, y) in found.items()}
        line = [places[label] for label in front(places)]
        axis.plot([x for x, _ in line], [sign * y for _, y in line], color="0.5", lw=0.8, zorder=0)
    axis.set_xlabel(label_of(cost), parse_math=False)
    axis.set_ylabel(metric, parse_math=False)
    axis.margins(x=0.15, y=0.15)


def _point(axis: "Axes", x: Interval, y: Interval, label: str, index: int) -> None:
    errors = [0.0 if math.isnan(one.half_width) else one.half_width for one in (x, y)]
    axis.errorbar(
        *(x.mean, y.mean),
        xerr=errors[0],
        yerr=errors[1],
        fmt=style.marker(index),
        color=style.colour(index),
        elinewidth=0.8,
        label=label,
    )


def _name(axis: "Axes", x: Interval, y: Interval, label: str, index: int) -> None:
    axis.annotate(
        label,
        (x.mean, y.mean),
        xytext=(4, 3),
        textcoords="offset points",
        fontsize=7,
        color=style.colour(index),
        parse_math=False,
    )


def place_of(arm: Arm, metric: str, cost: str) -> tuple[Interval, Interval] | None:
    """The cost and the metric at the metric's last step; None where no run has it."""
    having = [(run, found) for run in arm.runs if (found := points(run, metric))]
    if not having:
        return None
    last = [(run, max(found), found) for run, found in having]
    costs = [float(cost_at(run, cost, [step])[0]) for run, step, _ in last]
    return t_interval(costs), t_interval([found[step] for _, step, found in last])


def front(places: dict[str, tuple[float, float]]) -> list[str]:
    """The labels of the (cost, score) that none beats: by rising cost, each scores higher.

    >>> front({"a": (1, 0.2), "b": (2, 0.1), "c": (3, 0.5)})
    ['a', 'c']
    """
    kept: list[str] = []
    highest = -np.inf
    for label in sorted(places, key=lambda one: (places[one][0], -places[one][1])):
        if places[label][1] > highest:
            kept.append(label)
            highest = places[label][1]
    return kept

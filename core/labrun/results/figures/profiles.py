"""Performance profiles: the share of seeds and tasks above each score."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from labrun.results.figures import style
from labrun.results.over_tasks import FEWEST, Grid
from labrun.results.statistics import suites

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MEANING = (
    "share of the scores of all seeds and tasks that lie above the score on the x axis; "
    "band: 95% bootstrap over seeds"
)


def draw(grids: Sequence[Grid], *, width: str = "page", says: bool = True) -> "Figure":
    """One panel a grid of rates: for each arm the share of its scores above each threshold, with a
    band where it has three seeds or more.

    Source: Agarwal et al. (2021, arXiv 2108.13264), section 4.2.
    """
    with style.in_style():
        figure, axes = style.panels(len(grids), width=width)
        for axis, grid in zip(axes, grids, strict=True):
            _panel(axis, grid)
        style.legend(figure, axes)
        if says:
            style.explain(figure, MEANING)
    return figure


def _panel(axis: "Axes", grid: Grid) -> None:
    # a step lies at a score: between two of them no share changes
    steps = np.unique(
        [0.0, 1.0, *np.concatenate([found.ravel() for found in grid.scores.values()])]
    )
    for index, (arm, scores) in enumerate(grid.scores.items()):
        rng = np.random.default_rng(0)
        share, (low, high) = suites.bounded_profile(
            scores, steps.tolist(), rng, together=grid.together
        )
        (line,) = axis.plot(steps, share, label=arm, drawstyle="steps-post", **style.look(index))
        if len(scores) >= FEWEST:
            axis.fill_between(
                steps, low, high, step="post", color=line.get_color(), alpha=0.18, lw=0
            )
    axis.set_xlabel(f"{grid.metric} on {len(grid.tasks)} tasks", parse_math=False)
    axis.set_ylabel("share above")
    axis.set_ylim(0, 1.02)
    axis.margins(x=0)

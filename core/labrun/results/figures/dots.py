"""Last scores of all arms, task by task: means with their intervals."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from labrun.results.compare import START, Table
from labrun.results.figures import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROW = 0.15
"""Inches of a line. A task has one for the scores before training, if there are any, one for each
arm, and one between."""
LEAST_ROWS = 5
LONGEST = 24
"""Characters of a task's name; the middle of a longer one is left out."""


def draw(table: Table, metric: str, *, width: str = "column") -> "Figure | None":
    """The metric on each task: a point an arm with the interval of the table, and a hollow one for
    the score before training. None where no task has the metric."""
    tasks = [task for task, name in table.rows if name == metric]
    if not tasks:
        return None
    from matplotlib.figure import Figure

    arms = [column for column in table.columns if not _is_start(column)]
    lines = len(arms) + (len(arms) < len(table.columns))
    rows = max(LEAST_ROWS, len(tasks) * (lines + 1))
    with style.in_style():
        figure = Figure(figsize=(style.WIDTHS[width], ROW * rows + 0.7), layout="constrained")
        axis = figure.subplots()
        for place, task in enumerate(tasks):
            _rows(axis, table, (task, metric), arms, place * (lines + 1))
        _name(axis, metric, tasks, lines)
        if lines > 1:
            style.legend(figure, [axis])
    return figure


def _is_start(column: str) -> bool:
    return column == START or column.startswith(f"{START} ")


def _rows(
    axis: "Axes", table: Table, key: tuple[str, str], arms: Sequence[str], first: int
) -> None:
    cells = table.rows[key]
    starts = [
        cells[column].mean for column in table.columns if _is_start(column) and column in cells
    ]
    for start in starts:
        axis.plot([start], [first], marker="o", mfc="none", color="0.5", ls="", label=START)
    first += len(arms) < len(table.columns)
    for index, arm in enumerate(arms):
        if arm not in cells:
            continue
        cell, colour = cells[arm], style.look(index)["color"]
        if not math.isnan(cell.half_width):
            axis.plot([cell.low, cell.high], [first + index] * 2, color=colour, lw=1.2)
        axis.plot(
            [cell.mean], [first + index], marker=style.marker(index), ls="", color=colour, label=arm
        )


def _name(axis: "Axes", metric: str, tasks: Sequence[str], num_lines: int) -> None:
    places = [place * (num_lines + 1) + (num_lines - 1) / 2 for place in range(len(tasks))]
    axis.set_yticks(places, [_short(task) for task in tasks], parse_math=False)
    axis.set_ylim(places[-1] + (num_lines + 1) / 2, places[0] - (num_lines + 1) / 2)
    axis.set_xlabel(metric, parse_math=False)
    axis.tick_params(axis="y", length=0)
    axis.grid(axis="y", visible=False)


def _short(task: str) -> str:
    half = LONGEST // 2
    return task if len(task) <= LONGEST else f"{task[:half]}…{task[-half:]}"

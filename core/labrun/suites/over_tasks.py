"""The scores of a suite that several tasks, or several labels of its axes, have in common."""

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from labrun.results.directions import direction
from labrun.results.over_tasks import Grid
from labrun.runs.record import RunRecord
from labrun.suites.needed import Needed
from labrun.suites.suite import Scale
from labrun.suites.table import Point, Runs, point_of

Cell = tuple[Point, str]
"""The labels of the axes, and the task."""
Seeds = Mapping[int, Mapping[Point, RunRecord]]
"""Seed -> point -> the run."""


def grids_of(scale: Scale, wanted: Sequence[Needed], runs: Runs) -> list[Grid]:
    """A grid for each metric of the table that two or more tasks or labels have in every run.

    A seed counts once an arm has all its runs; an arm without such a seed is in no grid. Runs at
    other labels are other runs, so the bootstrap draws their seeds apart.
    """
    by_arm = {arm: seeds for arm in scale.arms if (seeds := _whole_seeds(arm, wanted, runs))}
    if not by_arm:
        return []
    logged = dict.fromkeys(metric for run in runs.values() for _, metric in run.scores())
    metrics = dict.fromkeys(row.metric for row in scale.rows) or logged
    found = [_grid(metric, by_arm) for metric in metrics]
    return [grid for grid in found if grid is not None]


def _whole_seeds(arm: str, wanted: Sequence[Needed], runs: Runs) -> Seeds:
    """The seeds that have a run at every point of the arm."""
    seeds: dict[int, dict[Point, RunRecord | None]] = {}
    for one in wanted:
        if one.arm == arm:
            place = point_of(one)
            seeds.setdefault(one.seed, {})[place] = runs.get((arm, place, one.seed))
    return {
        seed: {point: run for point, run in points.items() if run}
        for seed, points in seeds.items()
        if None not in points.values()
    }


def _grid(metric: str, by_arm: Mapping[str, Seeds]) -> Grid | None:
    cells = _shared(_cells(metric, seeds) for seeds in by_arm.values())
    sign = direction(metric)
    if len(cells) < 2 or sign == 0:
        return None
    scores = {
        arm: np.array(
            [
                [_last(points[point], task, metric) for point, task in cells]
                for points in seeds.values()
            ]
        )
        for arm, seeds in by_arm.items()
    }
    places = list(dict.fromkeys(point for point, _ in cells))
    names = tuple(" ".join([task, *(label for _, label in point)]) for point, task in cells)
    return Grid(metric, sign, names, tuple(places.index(point) for point, _ in cells), scores)


def _cells(metric: str, seeds: Seeds) -> list[Cell]:
    """The cells that every seed has a finite score of its own in."""
    return _shared(
        [(point, task) for point, run in points.items() for task in _tasks(run, metric)]
        for points in seeds.values()
    )


def _tasks(run: RunRecord, metric: str) -> list[str]:
    of = {task: steps for (task, name), steps in run.scores().items() if name == metric}
    last = {task: steps[max(steps)] for task, steps in of.items()}
    return [task for task, s in last.items() if not s.over and math.isfinite(s.value)]


def _shared(lists: Iterable[Sequence[Cell]]) -> list[Cell]:
    """The cells of all lists, in the order of the first."""
    first, *others = lists
    return [cell for cell in first if all(cell in other for other in others)]


def _last(run: RunRecord, task: str, metric: str) -> float:
    steps = run.scores()[task, metric]
    return steps[max(steps)].value

"""What an arm scores over several tasks at once: mean, interquartile mean, chance to be better.

Only metrics whose name says what is better are put together. Mean and interquartile mean are of
rates, which lie between 0 and 1 on every task; the chance to be better needs no common scale.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from labrun.results.arms import Arm
from labrun.results.directions import direction, is_rate
from labrun.results.statistics import suites
from labrun.results.statistics.intervals import Bounded, Interval, t_interval
from labrun.runs.record import RunRecord

Key = tuple[str, str]
"""Task, metric."""
FEWEST = 3
"""Seeds with which a bootstrap over seeds says something; two give three different draws."""


@dataclass(frozen=True)
class Grid:
    """The scores of one metric: of each arm (N, M), a row a seed, a column a task."""

    metric: str
    sign: int
    """1 where more is better, -1 where less is."""
    tasks: tuple[str, ...]
    together: tuple[int, ...]
    """A number for each task; tasks of equal number were scored in the same runs."""
    scores: Mapping[str, np.ndarray]

    @property
    def is_rate(self) -> bool:
        """Whether all scores are rates: numbers between 0 and 1 with the same meaning."""
        values = np.concatenate([found.ravel() for found in self.scores.values()])
        return is_rate(self.metric) and bool(((values >= 0) & (values <= 1)).all())


@dataclass(frozen=True)
class Aggregate:
    """One arm on all tasks of a grid. None: the metric has no common scale, or there is no
    baseline."""

    metric: str
    arm: str
    tasks: tuple[str, ...]
    num_seeds: int
    mean: Interval | None
    """Over tasks; its interval is Student's t over the seeds' means."""
    iqm: Bounded | None
    better: Bounded | None
    """The chance that a run of the arm scores better than one of the baseline."""


def grids_of(
    arms: Sequence[Arm], rows: Iterable[tuple[str, str]], *, lower: Sequence[str] = ()
) -> list[Grid]:
    """A grid for each metric that two or more of these rows (task, metric) have in every run.

    Tasks that are means over others take no part, nor do scores that are not finite.
    """
    last = {run.id: _last(run) for arm in arms for run in arm.runs}
    shared = [key for key in rows if all(key in scores for scores in last.values())]
    found = [
        _grid(metric, shared, arms, last, lower)
        for metric in dict.fromkeys(metric for _, metric in shared)
    ]
    return [grid for grid in found if grid is not None]


def _last(run: RunRecord) -> dict[Key, float]:
    """(task, metric) -> the score at its last step."""
    scores = {key: steps[max(steps)] for key, steps in run.scores().items()}
    return {key: s.value for key, s in scores.items() if not s.over and math.isfinite(s.value)}


def _grid(
    metric: str,
    shared: Sequence[Key],
    arms: Sequence[Arm],
    last: Mapping[str, Mapping[Key, float]],
    lower: Sequence[str],
) -> Grid | None:
    tasks = [task for task, name in shared if name == metric]
    signs = {direction(metric, lower=lower, task=task) for task in tasks}
    if len(tasks) < 2 or len(signs) > 1 or 0 in signs:
        return None
    scores = {
        arm.label: np.array([[last[run.id][task, metric] for task in tasks] for run in arm.runs])
        for arm in arms
    }
    return Grid(metric, signs.pop(), tuple(tasks), (0,) * len(tasks), scores)


def aggregates(grid: Grid, baseline: str | None = None) -> list[Aggregate]:
    """What each arm scores on all tasks of the grid; nothing where nothing can be said."""
    if not grid.is_rate and (baseline is None or len(grid.scores) < 2):
        return []
    arms = [arm for arm in grid.scores if grid.is_rate or arm != baseline]
    return [_aggregate(grid, arm, baseline) for arm in arms]


def _aggregate(grid: Grid, arm: str, baseline: str | None) -> Aggregate:
    scores = grid.scores[arm]
    mean = iqm = better = None
    if grid.is_rate:
        mean = t_interval(scores.mean(1).tolist())
        iqm = _iqm(scores, grid.together)
    if baseline is not None and arm != baseline:
        better = _better(grid.sign * scores, grid.sign * grid.scores[baseline], grid.together)
    return Aggregate(grid.metric, arm, grid.tasks, len(scores), mean, iqm, better)


def _iqm(scores: np.ndarray, together: Sequence[int]) -> Bounded:
    if len(scores) < FEWEST:
        return Bounded(float(suites.iqm(scores)), math.nan, math.nan)
    return suites.bounded(scores, suites.iqm, np.random.default_rng(0), together=together)


def _better(ours: np.ndarray, theirs: np.ndarray, together: Sequence[int]) -> Bounded:
    if min(len(ours), len(theirs)) < FEWEST:
        chance = suites.probability_of_improvement(ours, theirs)
        return Bounded(chance, math.nan, math.nan)
    rng = np.random.default_rng(0)
    return suites.bounded_improvement(ours, theirs, rng, together=together)

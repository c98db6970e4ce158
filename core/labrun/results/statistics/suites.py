"""Aggregates over the tasks of a suite, and the stratified bootstrap of them.

Scores are (N, M): N runs of each of M tasks, normalised so that tasks can be averaged. Source of
all: Agarwal et al., Deep Reinforcement Learning at the Edge of the Statistical Precipice (2021,
arXiv 2108.13264). Two differences: 1. Tasks that the same runs were scored on are resampled
together (`together`), since their scores share what a seed does; apart, the interval would be too
narrow. 2. Their optimality gap is left out: of scores between 0 and 1 it is 1 less the mean.
"""

from collections.abc import Callable, Sequence

import numpy as np

from labrun.results.statistics.bootstrap import NUM_RESAMPLES, percentiles, resamples
from labrun.results.statistics.intervals import Bounded

Statistic = Callable[[np.ndarray], np.ndarray]
"""(..., N, M) -> (...)."""
Strata = Sequence[int] | None
"""A number for each task: tasks of equal number were scored in the same runs, row by row. None:
each task has runs of its own."""


def iqm(scores: np.ndarray) -> np.ndarray:
    """The interquartile mean over runs and tasks: the mean without the lowest and highest quarter.

    Of n scores, floor(n / 4) are cut off at each end. (..., N, M) -> (...).
    """
    flat = np.sort(scores.reshape(*scores.shape[:-2], -1), axis=-1)
    cut = flat.shape[-1] // 4
    return flat[..., cut : flat.shape[-1] - cut].mean(-1)


def mean(scores: np.ndarray) -> np.ndarray:
    """The mean over tasks of the mean over runs. (..., N, M) -> (...)."""
    return scores.mean((-2, -1))


def probability_of_improvement(ours: np.ndarray, theirs: np.ndarray) -> float:
    """The mean over tasks of P(a run of ours scores higher), a tie being one half.

    On each task it is Mann and Whitney's U over N_x N_y. ours (N_x, M), theirs (N_y, M).
    """
    return float(np.mean([_wins(ours, theirs, [task]).mean() for task in range(ours.shape[1])]))


def performance_profile(scores: np.ndarray, thresholds: Sequence[float]) -> np.ndarray:
    """The share of runs, over all tasks, with a score above each threshold.

    (N, M) -> (thresholds,).
    """
    return (scores[..., None] > np.asarray(thresholds)).mean((0, 1))


def stratified(
    scores: np.ndarray,
    rng: np.random.Generator,
    *,
    together: Strata = None,
    number: int = NUM_RESAMPLES,
) -> np.ndarray:
    """Resamples (number, N, M): the runs of each stratum drawn anew from its own, with replacement.

    scores: (N, M).
    """
    runs, tasks = scores.shape
    places = _places(tasks, together)
    drawn = rng.integers(runs, size=(number, runs, int(places.max()) + 1))
    return scores[drawn[..., places], np.arange(tasks)]


def bounded(
    scores: np.ndarray, statistic: Statistic, rng: np.random.Generator, *, together: Strata = None
) -> Bounded:
    """A statistic such as `iqm`, with the percentile interval of the stratified bootstrap.

    scores: (N, M). Runs are drawn, tasks are not: it speaks of these tasks. Below about 10 runs it
    is narrow (docs/results/statistics.md).
    """
    low, high = percentiles(statistic(stratified(scores, rng, together=together)))
    return Bounded(float(statistic(scores)), float(low), float(high))


def bounded_improvement(
    ours: np.ndarray, theirs: np.ndarray, rng: np.random.Generator, *, together: Strata = None
) -> Bounded:
    """The probability of improvement, the runs of both sides drawn anew within each stratum."""
    places = _places(ours.shape[1], together)
    total = np.zeros(NUM_RESAMPLES)
    for stratum in range(int(places.max()) + 1):
        tasks = np.flatnonzero(places == stratum)
        wins = _wins(ours, theirs, tasks)
        mine, others = (resamples(n, rng) for n in wins.shape)
        total += len(tasks) * np.einsum("rx,xy,ry->r", mine, wins, others) / wins.size
    low, high = percentiles(total / len(places))
    return Bounded(probability_of_improvement(ours, theirs), float(low), float(high))


def bounded_profile(
    scores: np.ndarray,
    thresholds: Sequence[float],
    rng: np.random.Generator,
    *,
    together: Strata = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The performance profile (thresholds,) and the ends of its pointwise interval (2, thresholds).

    scores: (N, M).
    """
    above = scores[..., None] > np.asarray(thresholds)
    places = _places(scores.shape[1], together)
    total = np.zeros((NUM_RESAMPLES, above.shape[-1]))
    for stratum in range(int(places.max()) + 1):
        total += resamples(len(scores), rng) @ above[:, places == stratum].sum(1)
    return performance_profile(scores, thresholds), percentiles(total / scores.size)


def _places(tasks: int, together: Strata) -> np.ndarray:
    """The stratum of each task, from 0 on."""
    named = np.arange(tasks) if together is None else np.asarray(together)
    return np.unique(named, return_inverse=True)[1]


def _wins(ours: np.ndarray, theirs: np.ndarray, tasks: Sequence[int] | np.ndarray) -> np.ndarray:
    """How often a run of ours beats one of theirs, (N_x, N_y): the mean over these tasks."""
    gaps = ours[:, None, tasks] - theirs[None, :, tasks]
    return ((gaps > 0) + 0.5 * (gaps == 0)).mean(-1)

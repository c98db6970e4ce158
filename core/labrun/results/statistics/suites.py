"""Aggregates over the tasks of a suite, and the stratified bootstrap of them.

Scores are (N, M): N runs of each of M tasks, normalised so that tasks can be averaged. Source of
all: Agarwal et al., Deep Reinforcement Learning at the Edge of the Statistical Precipice (2021,
arXiv 2108.13264).
"""

from collections.abc import Callable, Sequence

import numpy as np

from labrun.results.statistics.bootstrap import NUM_RESAMPLES, percentiles
from labrun.results.statistics.intervals import Bounded

Statistic = Callable[[np.ndarray], np.ndarray]
"""(..., N, M) -> (...)."""


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


def median(scores: np.ndarray) -> np.ndarray:
    """The median over tasks of the mean over runs. (..., N, M) -> (...)."""
    return np.median(scores.mean(-2), axis=-1)


def optimality_gap(scores: np.ndarray, *, target: float = 1.0) -> np.ndarray:
    """The mean of how far scores fall short of `target`; above it nothing counts.

    (..., N, M) -> (...).
    """
    return target - np.minimum(scores, target).mean((-2, -1))


def probability_of_improvement(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """The mean over tasks of P(a run of ours scores higher), a tie being one half.

    On each task it is Mann and Whitney's U over N_x N_y. ours (..., N_x, M), theirs (..., N_y, M)
    -> (...).
    """
    gaps = ours[..., :, None, :] - theirs[..., None, :, :]
    return ((gaps > 0) + 0.5 * (gaps == 0)).mean((-3, -2, -1))


def performance_profile(scores: np.ndarray, thresholds: Sequence[float]) -> np.ndarray:
    """The share of runs, over all tasks, with a score above each threshold.

    (..., N, M) -> (..., thresholds).
    """
    above = scores[..., None] > np.asarray(thresholds)
    return above.mean((-3, -2))


def stratified(
    scores: np.ndarray, rng: np.random.Generator, *, number: int = NUM_RESAMPLES
) -> np.ndarray:
    """Resamples (number, N, M): each task's runs drawn anew from its own, with replacement."""
    runs, tasks = scores.shape
    drawn = rng.integers(runs, size=(number, runs, tasks))
    return scores[drawn, np.arange(tasks)]


def bounded(scores: np.ndarray, statistic: Statistic, rng: np.random.Generator) -> Bounded:
    """A statistic such as `iqm`, with the percentile interval of the stratified bootstrap.

    scores: (N, M). Runs are drawn, tasks are not: it speaks of these tasks. Below about 10 runs it
    is narrow (docs/results/statistics.md).
    """
    low, high = percentiles(statistic(stratified(scores, rng)))
    return Bounded(float(statistic(scores)), float(low), float(high))


def bounded_improvement(ours: np.ndarray, theirs: np.ndarray, rng: np.random.Generator) -> Bounded:
    """The probability of improvement, the runs of both sides drawn anew within each task."""
    resampled = probability_of_improvement(stratified(ours, rng), stratified(theirs, rng))
    low, high = percentiles(resampled)
    return Bounded(float(probability_of_improvement(ours, theirs)), float(low), float(high))


def bounded_profile(
    scores: np.ndarray, thresholds: Sequence[float], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """The performance profile (thresholds,) and the ends of its pointwise interval (2, thresholds).

    scores: (N, M).
    """
    resampled = performance_profile(stratified(scores, rng), thresholds)
    return performance_profile(scores, thresholds), percentiles(resampled)

"""Percentile bootstraps: over problems, over clusters of them, over seeds and problems.

A resample is a row of counts: how often it draws each of n things. Source of the percentile
interval: Efron and Tibshirani (1993), chapter 13.
"""

from collections.abc import Sequence

import numpy as np

from labrun.results.statistics.intervals import Bounded

CONFIDENCE = 0.95
NUM_RESAMPLES = 2000
"""Of the bootstrap; the ends of a 95% interval then vary by about 1/20 of its width."""


def resamples(n: int, rng: np.random.Generator, *, number: int = NUM_RESAMPLES) -> np.ndarray:
    """Counts (number, n): each row draws n of n things, with replacement."""
    return rng.multinomial(n, np.full(n, 1 / n), size=number)


def percentiles(replicates: np.ndarray) -> np.ndarray:
    """The ends of the 95% interval, (2, ...), of replicates (number, ...)."""
    return np.quantile(replicates, ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2), axis=0)


def over_problems(items: np.ndarray, rng: np.random.Generator) -> list[Bounded]:
    """Mean and interval of each column of `items` (P, columns), all by the same resamples."""
    counts = resamples(len(items), rng)
    ends = percentiles(counts @ items / len(items))
    return [Bounded(*map(float, each)) for each in zip(items.mean(0), *ends, strict=True)]


def paired(ours: np.ndarray, theirs: np.ndarray, rng: np.random.Generator) -> Bounded:
    """The mean difference over problems, each drawn with both its scores.

    ours, theirs: (P,), or (S, P) where the seeds' mean of each problem counts.

    Source: Koehn (2004), with the differences resampled in place of a count of wins.
    """
    (bounded,) = over_problems(np.atleast_2d(ours - theirs).mean(0)[:, None], rng)
    return bounded


def over_clusters(values: Sequence[float], places: Sequence[int], counts: np.ndarray) -> Bounded:
    """The mean of values that lie in clusters, each drawn with all its values.

    `places` are the values' clusters, columns of `counts` (number, clusters). Resamples that draw
    none of these values do not count.

    Source: Davison and Hinkley (1997), section 3.8.
    """
    width = counts.shape[1]
    sums = counts @ np.bincount(places, weights=values, minlength=width)
    sizes = counts @ np.bincount(places, minlength=width)
    low, high = percentiles(sums[sizes > 0] / sizes[sizes > 0])
    return Bounded(sum(values) / len(values), float(low), float(high))


def hierarchical(scores: np.ndarray, rng: np.random.Generator) -> Bounded:
    """The mean of all scores, seeds and problems both drawn anew: one interval for one number.

    A resample draws S seeds and, once for all of them, P problems, since every seed answers the
    same ones. With S seeds its variance lacks a factor (S - 1) / S, so that it is narrow for few
    (docs/results/statistics.md).

    scores: (S, P). Give the differences of two methods, seed by seed, for an interval of those.

    Source: Owen (2007), The Pigeonhole Bootstrap.
    """
    seeds, problems = scores.shape
    drawn = resamples(seeds, rng) @ scores
    replicates = np.einsum("rp,rp->r", drawn, resamples(problems, rng)) / scores.size
    low, high = percentiles(replicates)
    return Bounded(float(scores.mean()), float(low), float(high))

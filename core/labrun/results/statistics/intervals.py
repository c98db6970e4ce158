"""Intervals of a mean by Student's t: over seeds, over problems, over both."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from labrun.results.statistics import student
from labrun.score import number_text

T_95 = (
    12.706204736174694,
    4.302652729749462,
    3.1824463052837078,
    2.7764451051977934,
    2.5705818356363146,
    2.4469118511449786,
    2.364624251592784,
    2.306004135204166,
    2.262157162798205,
    2.228138851986274,
    2.200985160091639,
    2.1788128296672284,
    2.1603686564627913,
    2.144786687917804,
    2.131449545559776,
    2.1199052992212546,
    2.1098155778333156,
    2.1009220402410382,
    2.0930240544083087,
    2.085963447265864,
    2.0796138447276795,
    2.0738730679040254,
    2.0686576104190486,
    2.0638985616280245,
    2.0595385527532972,
    2.0555294386428735,
    2.0518305164802846,
    2.0484071417952454,
    2.045229642132703,
)
"""t(n - 1) of a 95% interval for n = 2, 3, ..., 30, as scipy gives it to the last digit."""
HUGE = 1e100
DEGREES = range(1, len(T_95) + 1)


@dataclass(frozen=True)
class Interval:
    """A mean over `n` seeds with half the width of its interval (nan for one seed)."""

    mean: float
    half_width: float
    n: int

    def __str__(self) -> str:
        if math.isnan(self.half_width):
            return number_text(self.mean)
        return f"{number_text(self.mean)} ± {number_text(self.half_width)}"

    @property
    def low(self) -> float:
        return self.mean - self.half_width

    @property
    def high(self) -> float:
        return self.mean + self.half_width


@dataclass(frozen=True)
class Bounded:
    """A mean with the ends of its interval, not always symmetric; nan where there is none."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        if math.isnan(self.low):
            return number_text(self.mean)
        return f"{number_text(self.mean)} [{number_text(self.low)}, {number_text(self.high)}]"


def t_interval(values: Sequence[float], *, confidence: float = 0.95) -> Interval:
    """Student's t interval of the mean: mean ± t(n-1) * s / sqrt(n), s with ddof 1.

    >>> str(t_interval([1.0, 2.0, 3.0]))
    '2.000 ± 2.484'

    Source: Student (1908), The Probable Error of a Mean.
    """
    n = len(values)
    if n == 0:
        raise ValueError("no values")
    mean = float(np.mean(values))
    if n == 1:
        return Interval(mean, math.nan, 1)
    quantile = t_quantile(n - 1, confidence)
    return Interval(mean, float(quantile * deviation(values) / math.sqrt(n)), n)


def deviation(values: Sequence[float] | np.ndarray) -> float:
    """The standard deviation with n - 1; inf or nan without a warning where it is not finite.

    Numbers whose squares no float holds are divided by their size first.
    """
    given = np.asarray(values, float)
    size = float(np.abs(given).max())
    with np.errstate(invalid="ignore", over="ignore"):
        if HUGE < size < math.inf:
            return float(np.std(given / size, ddof=1)) * size
        return float(np.std(given, ddof=1))


def clustered_interval(
    values: Sequence[float], clusters: Sequence[str] | Sequence[int], *, confidence: float = 0.95
) -> Interval:
    """The mean of all values, with a standard error clustered by `clusters`.

    Of G clusters with residual sums e_g over n values: the standard error is
    sqrt(G / (G - 1) * sum of e_g^2) / n, the interval mean ± t(G-1) standard errors. `n` of the
    result is G. With one value a cluster it is `t_interval`.

    values, clusters: (n,), such as samples and the problem of each.

    Source: Miller, Adding Error Bars to Evals (arXiv 2411.00640), section 2.2. Two differences, for
    few clusters (Cameron and Miller 2015): 1. the factor G / (G - 1); 2. t(G-1) in place of 1.96.
    """
    if len(values) == 0:
        raise ValueError("no values")
    _, places = np.unique(np.asarray(clusters), return_inverse=True)
    residuals = np.asarray(values, float) - np.mean(values)
    sums = np.bincount(places, weights=residuals)
    groups, mean = len(sums), float(np.mean(values))
    if groups == 1:
        return Interval(mean, math.nan, 1)
    error = math.sqrt(groups / (groups - 1) * float(sums @ sums)) / len(values)
    return Interval(mean, t_quantile(groups - 1, confidence) * error, groups)


def crossed_interval(scores: np.ndarray, *, confidence: float = 0.95) -> Interval:
    """The mean of all scores, for other seeds and other problems of the same kind.

    Of the mean squares A of seeds, B of problems and E of what is left, the variance of the mean is
    (A + B - E) / (S P), and at least A / (S P) and B / (S P). Its degrees of freedom are
    Satterthwaite's. `n` of the result is S. One seed: `t_interval` over problems.

    scores: (S, P), every seed on the same problems.

    Source: Satterthwaite (1946); the variance is that of two-way clustering (Cameron, Gelbach and
    Miller 2011).
    """
    seeds, problems = scores.shape
    mean = float(np.mean(scores))
    if min(scores.shape) == 1:
        return t_interval(scores.ravel().tolist(), confidence=confidence)
    by_seed, by_problem = scores.mean(1) - mean, scores.mean(0) - mean
    rest = scores - mean - by_seed[:, None] - by_problem
    squares = np.array(
        [
            problems * (by_seed @ by_seed) / (seeds - 1),
            seeds * (by_problem @ by_problem) / (problems - 1),
            np.sum(rest**2) / ((seeds - 1) * (problems - 1)),
        ]
    )
    degrees = np.array([seeds - 1, problems - 1, (seeds - 1) * (problems - 1)])
    used = max(((1, 1, -1), (1, 0, 0), (0, 1, 0)), key=lambda weights: float(squares @ weights))
    total = float(squares @ used)
    if total == 0:
        return Interval(mean, 0.0, seeds)
    freedom = total**2 / float(np.abs(used) @ (squares**2 / degrees))
    error = math.sqrt(total / scores.size)
    return Interval(mean, t_quantile(freedom, confidence) * error, seeds)


def t_quantile(degrees: float, confidence: float) -> float:
    """The quantile of Student's t that an interval of this confidence has on each side."""
    if confidence == 0.95 and degrees in DEGREES:
        return T_95[int(degrees) - 1]
    return student.quantile(degrees, confidence)

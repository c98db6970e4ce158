"""Intervals for few seeds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Interval:
    """A mean over `n` seeds with half the width of its interval (nan for one seed)."""

    mean: float
    half_width: float
    n: int

    def __str__(self) -> str:
        if math.isnan(self.half_width):
            return f"{self.mean:.3f}"
        return f"{self.mean:.3f} ± {self.half_width:.3f}"


def t_interval(values: Sequence[float], *, confidence: float = 0.95) -> Interval:
    """Student's t interval of the mean: mean ± t(n-1) * s / sqrt(n), s with ddof 1.

    >>> str(t_interval([1.0, 2.0, 3.0]))
    '2.000 ± 2.484'
    """
    n = len(values)
    if n == 0:
        raise ValueError("no values")
    mean = float(np.mean(values))
    if n == 1:
        return Interval(mean, math.nan, 1)
    from scipy import special  # a third of the command's start, which one seed does not need

    quantile = special.stdtrit(n - 1, 0.5 + confidence / 2)
    return Interval(mean, float(quantile * np.std(values, ddof=1) / math.sqrt(n)), n)

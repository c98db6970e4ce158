"""Intervals for few seeds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

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
"""t(n - 1) of a 95% interval for n = 2, 3, ..., 30, as scipy gives it; its import takes longer than
the whole comparison."""


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
    quantile = _quantile(n - 1, confidence)
    return Interval(mean, float(quantile * np.std(values, ddof=1) / math.sqrt(n)), n)


def _quantile(degrees: int, confidence: float) -> float:
    if confidence == 0.95 and degrees <= len(T_95):
        return T_95[degrees - 1]
    from scipy import special

    return float(special.stdtrit(degrees, 0.5 + confidence / 2))

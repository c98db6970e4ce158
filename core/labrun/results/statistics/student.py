"""Student's t distribution: the tail beyond a value, and the value that leaves a tail.

SciPy has both; its import takes longer than all tests of a comparison. A test compares the two.
"""

import math
from functools import cache

LARGE = 25.0
"""From here on, three terms of the series of a ratio of gammas leave an error below 1e-15."""
MANY = 1000.0
"""Degrees of freedom from which on Hill's expansion is exact to 1e-13."""
TINY = 1e-300
ENOUGH, CLOSE = 3e-16, 1e-14
"""Of the fraction's last factor, and of a step of Newton's method."""
MOST_TERMS = 1000


def tail(t: float, degrees: float) -> float:
    """P(T > t) for t >= 0; nan where either is.

    >>> round(tail(12.706204736174694, 1), 12)
    0.025

    With a = degrees / 2 and x = degrees / (degrees + t^2) it is I_x(a, 1/2) / 2, the regularized
    incomplete beta function (Abramowitz and Stegun, 26.5.27).
    """
    if math.isnan(t) or math.isnan(degrees):
        return math.nan
    if t == 0 or math.isinf(t):
        return 0.5 if t == 0 else 0.0
    if degrees >= MANY:
        return _near_normal(t, degrees)
    a, square = degrees / 2, t * t / degrees
    x = 1 / (1 + square)
    front = _front(a, square)
    if square > 3 / (degrees + 2):
        return front / a * _fraction(a, 0.5, x) / 2
    return (1 - front / 0.5 * _fraction(0.5, a, square * x)) / 2


@cache
def quantile(degrees: float, confidence: float) -> float:
    """The t that an interval of this confidence has on each side: P(|T| <= t) = confidence.

    >>> round(quantile(4, 0.95), 12)
    2.776445105198

    Newton's method on the logarithms of t and its tail, which meet from one side.
    """
    if not 0 < degrees < math.inf:
        return math.nan
    wanted, log_t = (1 - confidence) / 2, 0.0
    for _ in range(MOST_TERMS):
        t = math.exp(log_t)
        left = tail(t, degrees)
        step = math.log(left / wanted) * left / _slope(t, degrees)
        log_t += min(step, 1.0)  # a longer one may lead to where the tail is 0
        if abs(step) < CLOSE:
            break
    return math.exp(log_t)


def _near_normal(t: float, degrees: float) -> float:
    """The normal tail beyond a value that is expanded in 1 / degrees.

    Source: Hill (1970), Algorithm 395: Student's t-distribution.
    """
    a = degrees - 0.5
    b, y = 48 * a * a, a * math.log1p(t * t / degrees)
    third = (((-0.4 * y - 3.3) * y - 24) * y - 85.5) / (0.8 * y * y + 100 + b)
    return math.erfc(math.sqrt(y / 2) * (1 + (y + 3 + third) / b)) / 2


def _slope(t: float, degrees: float) -> float:
    """t times the density at t."""
    return _front(degrees / 2, t * t / degrees)


def _front(a: float, square: float) -> float:
    """x^a (1 - x)^(1/2) / B(a, 1/2) for x = 1 / (1 + square)."""
    log_one_more = math.log1p(square)
    log_power = -a * log_one_more + (math.log(square) - log_one_more) / 2
    return math.exp(log_power + _log_gamma_ratio(a) - math.log(math.pi) / 2)


def _log_gamma_ratio(a: float) -> float:
    """log(Gamma(a + 1/2) / Gamma(a)); the difference of two large logarithms loses digits."""
    if a < LARGE:
        return math.lgamma(a + 0.5) - math.lgamma(a)
    return math.log(a) / 2 - 1 / (8 * a) + 1 / (192 * a**3) - 1 / (640 * a**5) + 17 / (14336 * a**7)


def _fraction(a: float, b: float, x: float) -> float:
    """The continued fraction of the incomplete beta function, by Lentz's method.

    Source: Press et al., Numerical Recipes (2007), section 6.4.
    """
    upper, lower = 1.0, 1 / _not_zero(1 - (a + b) * x / (a + 1))
    value = lower
    for m in range(1, MOST_TERMS):
        for term in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            lower = 1 / _not_zero(1 + term * lower)
            upper = _not_zero(1 + term / upper)
            value *= upper * lower
        if abs(upper * lower - 1) < ENOUGH:
            break
    return value


def _not_zero(value: float) -> float:
    return value if abs(value) > TINY else TINY

"""Tests of paired differences, and the correction for several of them."""

import math
from collections.abc import Sequence

import numpy as np

from labrun.results.statistics import student
from labrun.results.statistics.intervals import deviation

ROUNDING = 1e-9
"""Differences that spread by less, in the largest of them, are equal but for rounding."""
MOST_EXACT = 16
"""Differences up to which all 2^n signs are tried."""
NUM_SIGNS = 20_000
"""Choices of the signs that are drawn where there are too many to try."""
AT_ONCE = 2**18
"""Signs that are in memory together, of 8 bytes each."""


def paired_p(values: np.ndarray) -> float:
    """Two-sided p of Student's t-test that the mean of paired differences is 0.

    1 if all are 0; nan if all are equal to another number, which have no spread to test against.
    values: (n,).
    """
    if not values.any():
        return 1.0
    if np.ptp(values) <= ROUNDING * np.abs(values).max():
        return math.nan
    t = values.mean() / (deviation(values) / math.sqrt(len(values)))
    return 2 * student.tail(abs(float(t)), len(values) - 1)


def sign_flip_p(values: np.ndarray, rng: np.random.Generator | None = None) -> float:
    """Two-sided p of the permutation test that paired differences are symmetric about 0.

    It is the share of all 2^n choices of the differences' signs whose mean is as far from 0 as
    theirs. With more than 16 differences 20,000 choices are drawn by `rng`, and theirs counts as
    one of them. nan where a difference is. values: (n,).

    Source: Fisher (1935), The Design of Experiments, section 21; Phipson and Smyth (2010) for the
    one that is added.
    """
    if not np.isfinite(values).all():
        return math.nan
    least = abs(values.sum()) - ROUNDING * np.abs(values).sum()
    n = len(values)
    if n <= MOST_EXACT:
        bits = (np.arange(2**n)[:, None] >> np.arange(n)) & 1
        return float(np.mean(np.abs((2 * bits - 1) @ values) >= least))
    rng = rng or np.random.default_rng(0)
    rows = max(1, AT_ONCE // n)
    blocks = (min(rows, NUM_SIGNS - first) for first in range(0, NUM_SIGNS, rows))
    drawn = (rng.choice((-1, 1), size=(block, n)) for block in blocks)
    as_far = sum(int(np.sum(np.abs(signs @ values) >= least)) for signs in drawn)
    return (1 + as_far) / (1 + NUM_SIGNS)


def smallest_permutation_p(num_differences: int) -> float:
    """The least p that flipping the signs of so many paired differences could give: 2 / 2^n."""
    return 2.0 / 2**num_differences


def holm(ps: Sequence[float]) -> list[float]:
    """Holm's step-down correction: the i-th smallest of m times m - i + 1, never falling, <= 1.

    A p that is nan stays nan and does not count in m.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]

    Source: Holm (1979), A Simple Sequentially Rejective Multiple Test Procedure.
    """
    tested = [index for index, p in enumerate(ps) if not math.isnan(p)]
    corrected, least = [math.nan] * len(ps), 0.0
    for rank, index in enumerate(sorted(tested, key=ps.__getitem__)):
        least = max(least, min(1.0, (len(tested) - rank) * ps[index]))
        corrected[index] = least
    return corrected

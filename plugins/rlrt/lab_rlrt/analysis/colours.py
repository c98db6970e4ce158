"""One diverging scale for the page and the figures: blue below 0, nothing at 0, orange above."""

from collections.abc import Iterable

import numpy as np

POSITIVE, NEGATIVE = (217, 95, 2), (31, 119, 180)
"""Red, green and blue (0 to 255) of the two ends."""
STRONGEST = 0.8
"""Opacity of the ends, so that text on them is read in light and in dark."""
SHARE = 0.95
"""Share of the values that lie within the scale; those beyond have the ends' colours."""
SMALLEST = 0.1
"""Narrowest scale (nats)."""
CORRECT, WRONG = "#1b9e77", "#7570b3"
"""Colours of the two outcomes."""


def limit(values: Iterable[float]) -> float:
    """The value at the end of the scale: the 95th percentile of the absolute values."""
    return max(SMALLEST, float(np.quantile(np.abs(list(values)), SHARE)))


def opacity(value: float, *, at_most: float) -> float:
    """0 at 0, STRONGEST at `at_most` and beyond."""
    return STRONGEST * min(abs(value) / at_most, 1.0)


def rgb(value: float) -> tuple[int, int, int]:
    """The end's colour on the value's side."""
    return POSITIVE if value > 0 else NEGATIVE

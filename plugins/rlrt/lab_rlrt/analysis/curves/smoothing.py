"""Running means of a curve."""

from collections.abc import Mapping, Sequence

import numpy as np

Curve = Mapping[int, float]
"""Step -> value."""


def running_mean(values: Sequence[float], window: int) -> np.ndarray:
    """Means of `window` values each; the first belongs to index window - 1."""
    return np.convolve(np.asarray(values, dtype=float), np.ones(window) / window, mode="valid")

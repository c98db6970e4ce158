"""What an evaluator gives for one task and metric."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Score:
    """One result: `value` of `metric` on `task`, the mean of `items` over `n` items.

    `items` holds one number per item (problem, episode) in a fixed order, so that runs can be
    paired item by item; it may be empty where a metric has no per-item value.
    """

    task: str
    metric: str
    value: float
    n: int
    items: Sequence[float] = ()

"""What an evaluator gives for one task and metric."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from labrun.errors import LabError


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


def scores_of(evaluator: Any, returned: Any) -> list[Score]:
    """What the evaluator returned, as a list. Raises LabError for anything but scores."""
    if isinstance(returned, list | tuple) and all(isinstance(one, Score) for one in returned):
        return [*returned]
    got = "None" if returned is None else f"a {type(returned).__name__}"
    if isinstance(returned, list | tuple):
        got += f" that holds a {next(type(o).__name__ for o in returned if type(o) is not Score)}"
    kind = type(evaluator)
    raise LabError(
        f"{kind.__module__}.{kind.__qualname__}.evaluate() returns {got}; "
        "return a list of labrun.Score(task, metric, value, n)"
    )

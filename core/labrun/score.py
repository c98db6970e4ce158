"""What an evaluator gives for one task and metric."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from labrun.errors import LabError

LARGEST_FIXED = 1e6
"""From here on numbers are printed with a power of ten."""
LEAST_P = 0.001
"""Below it a p is printed as smaller than it."""


@dataclass(frozen=True)
class Score:
    """One result: `value` of `metric` on `task`, the mean of `items` over `n` items.

    `items` holds one number per item (problem, episode) in a fixed order, so that runs can be
    paired item by item; it may be empty where a metric has no per-item value. `over` names the
    tasks whose mean this score is, so that no table counts them twice; empty for a task of its own.
    """

    task: str
    metric: str
    value: float
    n: int
    items: Sequence[float] = ()
    over: Sequence[str] = ()

    def to_event(self) -> dict[str, Any]:
        """The score as events.jsonl holds it, without an empty `over`."""
        plain = asdict(self)
        if not self.over:
            del plain["over"]
        return plain


def number_text(value: float, *, decimals: int = 3) -> str:
    """The value as tables print it.

    >>> number_text(0.5), number_text(1e300)
    ('0.500', '1.000e+300')
    """
    kind = "e" if abs(value) >= LARGEST_FIXED else "f"
    return f"{value:.{decimals}{kind}}"


def seeds_text(counts: Iterable[int]) -> str:
    """How many seeds, in words.

    >>> seeds_text([3]), seeds_text([1]), seeds_text([5, 1, 3])
    ('3 seeds', '1 seed', '1 to 5 seeds')
    """
    known = [*counts]
    text = " to ".join(str(n) for n in dict.fromkeys((min(known), max(known))))
    return f"{text} seed" if text == "1" else f"{text} seeds"


def p_text(p: float) -> str:
    """A p as tables print it; one that three decimals would call 0 is `<0.001`.

    >>> p_text(0.0415), p_text(3e-7), p_text(float("nan"))
    ('0.042', '<0.001', '-')
    """
    if math.isnan(p):
        return "-"
    return f"{p:.3f}" if p >= LEAST_P else f"<{LEAST_P:.3f}"


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

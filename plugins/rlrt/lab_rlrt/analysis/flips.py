"""Counting outcomes that turn around, with intervals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from labrun.intervals import t_interval
from scipy import stats

Arm = Literal["max", "max_control", "random", "random_control"]
ARMS: tuple[Arm, ...] = ("max", "max_control", "random", "random_control")
"""Continuations of a rollout from the position of largest KL and from a random one; the controls
are continued from the same position with nothing inserted."""
DIFFERENCES: Mapping[str, tuple[Arm, Arm]] = {
    "max_minus_random": ("max", "random"),
    "max_minus_control": ("max", "max_control"),
    "random_minus_control": ("random", "random_control"),
}


@dataclass(frozen=True)
class Outcomes:
    """Whether a rollout was correct, and whether it is after each continuation."""

    before: bool
    after: Mapping[Arm, bool]

    def flipped(self, arm: Arm) -> float:
        """1 where the outcome is another one, else 0."""
        return float(self.after[arm] != self.before)


@dataclass(frozen=True)
class Rate:
    """A share (or a difference of shares) of n rollouts with the ends of its 95% interval."""

    value: float
    low: float
    high: float
    n: int


def wilson(flags: Sequence[float]) -> Rate:
    """The share of ones with its Wilson score interval. Raises ValueError for none."""
    found = stats.binomtest(round(sum(flags)), len(flags)).proportion_ci(method="wilson")
    return Rate(sum(flags) / len(flags), found.low, found.high, len(flags))


def paired(first: Sequence[float], second: Sequence[float]) -> Rate:
    """The mean of the differences first - second, rollout by rollout, with its t interval."""
    band = t_interval([a - b for a, b in zip(first, second, strict=True)])
    return Rate(band.mean, band.mean - band.half_width, band.mean + band.half_width, band.n)


def flags(table: Sequence[Outcomes], arm: Arm, *, before: bool | None = None) -> list[float]:
    """Flips of one arm, rollout by rollout; only of those that were `before`, where it is given."""
    return [row.flipped(arm) for row in table if before is None or row.before == before]


def items(table: Sequence[Outcomes]) -> dict[str, list[float]]:
    """Metric -> one value a rollout: 0 or 1, and for a paired difference -1 to 1.

    `flip_ARM`, of all rollouts; `to_wrong_ARM`, of the correct ones; `to_correct_ARM`, of the
    others; the paired differences of DIFFERENCES; and `flip_excess`, by how much more the phrase
    adds to the control at the maximum than at the random position.
    """
    flip = {arm: flags(table, arm) for arm in ARMS}
    found = {f"flip_{arm}": values for arm, values in flip.items()}
    found |= {f"to_wrong_{arm}": flags(table, arm, before=True) for arm in ARMS}
    found |= {f"to_correct_{arm}": flags(table, arm, before=False) for arm in ARMS}
    pairs = {name: (flip[a], flip[b]) for name, (a, b) in DIFFERENCES.items()}
    found |= {
        f"flip_{name}": [a - b for a, b in zip(*both, strict=True)] for name, both in pairs.items()
    }
    added = (found["flip_max_minus_control"], found["flip_random_minus_control"])
    return found | {"flip_excess": [a - b for a, b in zip(*added, strict=True)]}


def rates(values: Mapping[str, Sequence[float]]) -> dict[str, Rate]:
    """Each metric of `items` with its interval; those without a rollout are left out."""
    return {
        name: paired(found, [0.0] * len(found)) if _is_difference(name) else wilson(found)
        for name, found in values.items()
        if found
    }


def _is_difference(name: str) -> bool:
    return "minus" in name or name == "flip_excess"

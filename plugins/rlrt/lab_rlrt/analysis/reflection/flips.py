"""Counting outcomes that turn around, with intervals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from labrun.results.statistics.bootstrap import over_clusters, resamples

Arm = Literal["max", "max_control", "random", "random_control"]
ARMS: tuple[Arm, ...] = ("max", "max_control", "random", "random_control")
"""Continuations of a rollout from the position of largest KL and from a random one; the controls
are continued from the same position with nothing inserted."""
DIFFERENCES: Mapping[str, tuple[Arm, Arm]] = {
    "max_minus_random": ("max", "random"),
    "max_minus_control": ("max", "max_control"),
    "random_minus_control": ("random", "random_control"),
}


KINDS: Mapping[str, bool | None] = {"flip": None, "to_wrong": True, "to_correct": False}
"""Which rollouts count: all, or only those whose own outcome this was (True: correct)."""


@dataclass(frozen=True)
class Outcomes:
    """Whether a rollout of a problem (its number) was correct, and whether it is after each
    continuation."""

    problem: int
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


def counted(table: Sequence[Outcomes], kind: str) -> list[Outcomes]:
    """The rollouts that can make this kind of flip (a key of KINDS)."""
    before = KINDS[kind]
    return [row for row in table if before is None or row.before == before]


def by_rollout(table: Sequence[Outcomes]) -> dict[str, list[float]]:
    """Metric -> one value a rollout: 0 or 1, and for a paired difference -1 to 1.

    `flip_ARM`, of all rollouts; `to_wrong_ARM`, of the correct ones; `to_correct_ARM`, of the
    others; the paired differences of DIFFERENCES; and `flip_excess`, by how much more the phrase
    adds to the control at the maximum than at the random position.
    """
    found = {
        f"{kind}_{arm}": [row.flipped(arm) for row in counted(table, kind)]
        for kind in KINDS
        for arm in ARMS
    }
    found |= {
        f"flip_{name}": [row.flipped(a) - row.flipped(b) for row in table]
        for name, (a, b) in DIFFERENCES.items()
    }
    added = (found["flip_max_minus_control"], found["flip_random_minus_control"])
    return found | {"flip_excess": [a - b for a, b in zip(*added, strict=True)]}


def rates(table: Sequence[Outcomes], rng: np.random.Generator) -> dict[str, Rate]:
    """Each metric of `by_rollout` with its interval; those without a rollout are left out.

    Rollouts of one problem are not independent, so that problems are resampled, each with all its
    rollouts, and the same ones for every metric.
    """
    numbers = sorted({row.problem for row in table})
    counts = resamples(len(numbers), rng)
    found: dict[str, Rate] = {}
    for name, values in by_rollout(table).items():
        kind = next(kind for kind in KINDS if name.startswith(kind))
        places = [numbers.index(row.problem) for row in counted(table, kind)]
        if values:
            bounded = over_clusters(values, places, counts)
            found[name] = Rate(bounded.mean, bounded.low, bounded.high, len(values))
    return found

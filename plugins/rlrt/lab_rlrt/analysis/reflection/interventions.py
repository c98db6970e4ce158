"""Rollouts that are continued from a position, after a phrase or nothing."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from lab_llm.policy.policy import Policy
from labrun import LabError

from lab_rlrt.analysis.reflection.flips import ARMS, Arm
from lab_rlrt.analysis.rollouts import (
    Ids,
    Rollout,
)
from lab_rlrt.analysis.traces import Trace


@dataclass(frozen=True)
class Intervention:
    """A rollout that is continued from its token `position`, after `inserted` ids."""

    rollout: Rollout
    arm: Arm
    position: int
    inserted: Ids

    @property
    def kept(self) -> list[int]:
        """What the continuation follows: the prefix of the completion, then the phrase."""
        return [*self.rollout.completion[: self.position], *self.inserted]


def phrase_ids(policy: Policy, phrase: str) -> list[int]:
    """The phrase's tokens, none added. Raises LabError where there are none."""
    ids = list(policy.tokenizer.encode(phrase, add_special_tokens=False))
    if not ids:
        raise LabError(f"evaluator.reflection.phrase={phrase!r} has no token")
    return ids


def interventions(
    traces: Sequence[Trace], phrase: Ids, rng: np.random.Generator
) -> list[Intervention]:
    """Four of each rollout, in the order of ARMS.

    `max` is the first position of largest Dbar_t; the random one is uniform over all others. Tokens
    are inserted before the position's token, which is sampled anew.
    """
    found: list[Intervention] = []
    for item in traces:
        critical = int(np.argmax(item.divergence))
        other = int(rng.integers(len(item.divergence) - 1))
        other += other >= critical
        for arm in ARMS:
            position = critical if arm.startswith("max") else other
            inserted = () if arm.endswith("control") else tuple(phrase)
            found.append(Intervention(item.rollout, arm, position, inserted))
    return found

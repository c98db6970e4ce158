"""Token-level credit: what turns a rollout's advantage into one advantage a token."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lab_llm.text.epistemic_words import EPISTEMIC_WORDS
from lab_llm.training.distillation_config import DistillationConfig

Scored = Literal["none", "correct", "all"]
Context = Literal["sibling", "reference_solution", "answer"]


@runtime_checkable
class CreditFunction(Protocol):
    """Token advantages (B, T) from one step's rollouts; zero outside the mask."""

    def __call__(
        self,
        advantages: Float[Tensor, " B"],
        student_logprobs: Float[Tensor, "B T"],
        teacher_logprobs: Float[Tensor, "B T"],
        rewards: Float[Tensor, " B"],
        mask: Float[Tensor, "B T"],
    ) -> Float[Tensor, "B T"]: ...


Measure = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Mapping[str, float]]
"""The same arguments -> metrics of the credit."""


Shape = Callable[[Tensor, Tensor], Tensor]
"""(advantages (B, T), entropies of the policy (B, T), nats) -> advantages (B, T)."""


@dataclass(frozen=True)
class Credit:
    """A credit function with what it needs from the teacher.

    `scored`: the rollouts of mixed groups that the teacher scores; elsewhere, and where the context
    is a sibling and the group holds no correct rollout, the function sees the student's own
    log-probabilities in the teacher's place. `context`: the teacher's solution.
    """

    weigh: CreditFunction
    measure: Measure
    scored: Scored
    context: Context
    template: str
    shape: Shape | None = None
    """Advantages that depend on the policy's entropy, made of the others at each update."""
    words: tuple[str, ...] = EPISTEMIC_WORDS
    """What the metrics epistemic_words and epistemic_count count."""
    distillation: DistillationConfig | None = None
    """SDPO's loss in place of the surrogate, whatever the advantages are."""


def unweighted(
    advantages: Float[Tensor, " B"],
    student_logprobs: Float[Tensor, "B T"],
    teacher_logprobs: Float[Tensor, "B T"],
    rewards: Float[Tensor, " B"],
    mask: Float[Tensor, "B T"],
) -> Float[Tensor, "B T"]:
    """GRPO's own: every token of a rollout has its advantage."""
    del student_logprobs, teacher_logprobs, rewards
    return advantages[:, None] * mask


def unmeasured(*_: Tensor) -> Mapping[str, float]:
    """No metrics."""
    return {}


def rows_to_score(
    rewards: Float[Tensor, " B"], advantages: Float[Tensor, " B"], scored: Scored
) -> Bool[Tensor, " B"]:
    """Which rollouts the teacher scores: none where the group's rewards are all equal.

    A rollout whose advantage is 0 has no weight to be changed, so that it costs no teacher pass.
    """
    mixed = advantages != 0
    if scored == "none":
        return torch.zeros_like(mixed)
    return mixed & (rewards == 1.0) if scored == "correct" else mixed


def in_solved_group(rewards: Float[Tensor, " B"], *, group_size: int) -> Bool[Tensor, " B"]:
    """Whether a rollout's group holds a correct one (r = 1), which a teacher can be shown.

    `rewards` are those of whole groups, one after another.
    """
    solved = (rewards.view(-1, group_size) == 1.0).any(1)
    return solved.repeat_interleave(group_size)


def in_uniform_group(rewards: Float[Tensor, " B"], *, group_size: int) -> Bool[Tensor, " B"]:
    """Whether all rewards of a rollout's group are equal, so that its advantage is exactly 0.

    `rewards` are those of whole groups, one after another.
    """
    groups = rewards.view(-1, group_size)
    return (groups == groups[:, :1]).all(1).repeat_interleave(group_size)

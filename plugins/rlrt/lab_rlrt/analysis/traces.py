"""Both asymmetries along rollouts: eq. 1 of every sampled token, eq. 2 of every position."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from lab_llm.distributed.stopping import stop_if_asked
from lab_llm.policy.policy import Policy
from torch import Tensor

from lab_rlrt import objectives
from lab_rlrt.analysis.config import TaughtSettings
from lab_rlrt.analysis.rollouts import Rollout, Side, compare_along, teacher_prompts

if TYPE_CHECKING:
    from labrun.runs.context import RunContext


@dataclass(frozen=True)
class Trace:
    """A rollout with one number for each of its T tokens, in nats: log P_S, log P_T and Dbar_t."""

    rollout: Rollout
    tokens: Sequence[str]
    student: Sequence[float]
    teacher: Sequence[float]
    divergence: Sequence[float]

    @property
    def asymmetry(self) -> list[float]:
        """D_t = log P_S(y_t) - log P_T(y_t), eq. 1."""
        return [s - t for s, t in zip(self.student, self.teacher, strict=True)]


def reduce(
    student: Float[Tensor, "N V"], teacher: Float[Tensor, "N V"], tokens: Int[Tensor, " N"]
) -> Float[Tensor, "N 3"]:
    """log P_S(y_t), log P_T(y_t) and KL(P_S || P_T) of each position."""
    return torch.stack(
        [
            objectives.sampled_logprobs(student, tokens),
            objectives.sampled_logprobs(teacher, tokens),
            objectives.position_asymmetry(student[None], teacher[None])[0],
        ],
        dim=-1,
    )


def trace(
    ctx: "RunContext",
    policy: Policy,
    rollouts: Sequence[Rollout],
    chosen: Sequence[Rollout],
    settings: TaughtSettings,
) -> list[Trace]:
    """The traces of the chosen rollouts, the teacher given a correct sibling out of `rollouts`."""
    prompts = teacher_prompts(
        ctx,
        policy,
        rollouts,
        chosen,
        size=settings.num_samples,
        template=settings.template_for(str(policy.tokenizer.name_or_path)),
    )
    found = compare_along(
        Side(policy, [rollout.prompt for rollout in chosen]),
        Side(policy, prompts),
        [rollout.completion for rollout in chosen],
        reduce,
        settings=settings,
        beat=partial(stop_if_asked, ctx, before="all rollouts were traced"),
    )
    return [
        Trace(rollout, token_texts(policy, rollout.completion), *values.T.tolist())
        for rollout, values in zip(chosen, found, strict=True)
    ]


def token_texts(policy: Policy, ids: Sequence[int]) -> list[str]:
    """The text of each token on its own; special tokens are shown."""
    return [str(policy.tokenizer.decode([token])) for token in ids]

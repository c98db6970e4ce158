"""Advantages of rollouts and of their tokens, and what equal rewards in a group mean for them."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lab_llm.training.rollouts import Rollouts
from lab_llm.training.teacher import Scored


def plain(rollouts: Rollouts) -> Float[Tensor, "B T"]:
    """A_t = A: GRPO's own, every token of a rollout has its advantage."""
    return rollouts.rollout_advantages[:, None] * rollouts.loss_mask


def rows_to_score(
    rewards: Float[Tensor, " B"], advantages: Float[Tensor, " B"], scored: Scored
) -> Bool[Tensor, " B"]:
    """Which rollouts a teacher reads. `mixed` and `correct` leave out those of advantage 0.

    Such a rollout has no weight to be changed, so that it costs no teacher pass.
    """
    mixed = advantages != 0
    if scored == "every":
        return torch.ones_like(mixed)
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

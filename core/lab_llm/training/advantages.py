"""Advantages of rollouts and of their tokens, and what equal rewards in a group mean for them."""

from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lab_llm.training.rollouts import Rollouts
from lab_llm.training.teacher import Scored


def group_advantages(
    rewards: Float[Tensor, " B"], *, group_size: int, scale: Literal["group", "batch", "none"]
) -> Float[Tensor, " B"]:
    """A = (r - mean of the group) / (deviation + 1e-4), GRPO (arXiv 2402.03300, section 4.1.2).

    The standard deviation (ddof 1) is the group's or the whole batch's; `none`: no division
    (arXiv 2503.20783). Exactly 0 where all rewards of a group are equal. `rewards` are those of
    whole groups, one after another.
    """
    groups = rewards.view(-1, group_size)
    advantages = groups - groups.mean(1, keepdim=True)
    if scale != "none":
        advantages = advantages / (_deviation(groups if scale == "group" else rewards[None]) + 1e-4)
    # rounding leaves a little of equal rewards, which 1e-4 makes large
    uniform = in_uniform_group(rewards, group_size=group_size)
    return advantages.flatten().masked_fill(uniform, 0.0)


def _deviation(rows: Float[Tensor, "n m"]) -> Float[Tensor, "n 1"]:
    """Standard deviation of each row (ddof 1), in the order of TRL's operations."""
    size = rows.shape[1]
    squares = (rows - rows.mean(1, keepdim=True)).square()
    return (squares.mean(1, keepdim=True) * (size / (size - 1))).sqrt()


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


def in_uniform_group(rewards: Float[Tensor, " B"], *, group_size: int) -> Bool[Tensor, " B"]:
    """Whether all rewards of a rollout's group are equal, so that its advantage is exactly 0.

    `rewards` are those of whole groups, one after another.
    """
    groups = rewards.view(-1, group_size)
    return (groups == groups[:, :1]).all(1).repeat_interleave(group_size)

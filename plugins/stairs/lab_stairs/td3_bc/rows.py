"""The transitions of one update: a part of every episode of a batch, without padding."""

from dataclasses import dataclass

import torch
from lab_marl.episodes.batches import Batch
from lab_marl.episodes.layouts import Layout
from lab_marl.training.entity_features import last_actions
from torch import Tensor


@dataclass(frozen=True)
class TransitionRows:
    """F packed frames of B parts of episodes, time by time, the longest part first.

    A part of k transitions has k + 1 frames, so that F = R + B for R transitions. The frames
    `begins` are those at which a transition begins; the one after the i-th of them is the i-th of
    all frames but the first `counts[0]`.
    """

    layout: Layout
    counts: tuple[int, ...]
    """Parts that have frame t."""
    begins: Tensor
    """(F,) bool, true R times."""
    obs: Tensor
    """(F, n, o)."""
    last: Tensor
    """(F, n, j): actions one step before; zeros at an episode's first frame."""
    state: Tensor
    """(F, s)."""
    actions: Tensor
    """(R, n, j)."""
    reward: Tensor
    """(R,)."""
    terminated: Tensor
    """(R,) float32."""

    def at(self, values: Tensor) -> Tensor:
        """Of values (F, ...), those of the frames at which a transition begins: (R, ...)."""
        return values[self.begins]

    def after(self, values: Tensor) -> Tensor:
        """Of values (F, ...), those of the frame after each transition: (R, ...)."""
        return values[self.counts[0] :]


def draw_rows(batch: Batch, *, length: int) -> TransitionRows:
    """`length` transitions of every episode from a random one on; shorter ones whole.

    0 takes all episodes whole. Draws from torch's global generator.
    """
    transitions = batch.transitions.sum(0).long()
    sizes = transitions.clamp(max=length) if length else transitions
    starts = (torch.rand_like(batch.reward[0]) * (transitions - sizes + 1)).long()
    # The batch's longest episode comes first, and so does the longest part.
    steps = torch.arange(int(sizes[0]) + 1, device=sizes.device)[:, None]
    inside = steps <= sizes
    time = (starts + steps)[inside]
    episode = torch.arange(len(sizes), device=sizes.device).expand_as(inside)[inside]
    begins = (steps < sizes)[inside]
    return TransitionRows(
        layout=batch.layout,
        counts=tuple(inside.sum(1).tolist()),
        begins=begins,
        obs=batch.obs[time, episode],
        last=last_actions(batch)[time, episode],
        state=batch.state[time, episode],
        actions=batch.actions[time, episode][begins],
        reward=batch.reward[time, episode][begins],
        terminated=batch.terminated[time, episode][begins],
    )

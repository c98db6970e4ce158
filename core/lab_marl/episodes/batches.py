"""Batches of episodes as tensors, in the order in which recurrent networks read them."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from lab_marl.episodes.buffered import BufferedEpisodes
from lab_marl.episodes.episodes import Episodes
from lab_marl.episodes.layouts import Layout


@dataclass(frozen=True)
class Batch:
    """B episodes of one task, time first, the longest episode first.

    T is the number of frames of the longest episode. Since episodes are sorted by length, those
    that have a frame t are exactly the first `counts[t]`.
    """

    layout: Layout
    obs: Tensor
    """(T, B, n, o) float32."""
    state: Tensor
    """(T, B, s) float32."""
    actions: Tensor
    """(T, B, n) int64, or (T, B, n, a) float32 where the task is continuous."""
    avail_actions: Tensor
    """(T, B, n, a) bool."""
    reward: Tensor
    """(T, B) float32."""
    terminated: Tensor
    """(T, B) float32, 1 where this transition ended the episode."""
    filled: Tensor
    """(T, B) float32, 1 at the frames of an episode."""
    counts: tuple[int, ...]
    """Episodes that have frame t."""

    @property
    def valid(self) -> Tensor:
        """(T, B) float32: filled * (1 - terminated one step before), the published code's mask."""
        before = torch.zeros_like(self.terminated)
        before[1:] = self.terminated[:-1]
        return self.filled * (1 - before)

    @property
    def transitions(self) -> Tensor:
        """(T, B) float32, 1 where a transition begins.

        It differs from `valid` at one frame only: the last one of an episode that was cut off,
        which has no transition although nothing terminated before it.
        """
        after = torch.zeros_like(self.filled)
        after[:-1] = self.filled[1:]
        return self.valid * after

    def lengthened(self, frames: int) -> "Batch":
        """The same episodes with padding up to `frames` time steps, which no episode has."""
        more = frames - len(self.filled)
        padded = {
            name: torch.cat([value, value.new_zeros(more, *value.shape[1:])])
            for name, value in vars(self).items()
            if isinstance(value, Tensor)
        }
        return replace(self, **padded, counts=self.counts + (0,) * more)

    def packed(self) -> Tensor:
        """(T, B) bool: `values[packed]` are the frames of episodes, time step by time step."""
        return self.filled.bool()


def make_batch(
    layout: Layout,
    episodes: Episodes | BufferedEpisodes,
    index: np.ndarray,
    *,
    device: torch.device | str,
) -> Batch:
    """The episodes at `index` as one batch."""
    lengths = episodes.lengths[index]
    order = np.argsort(-lengths, kind="stable")
    index, lengths = index[order], lengths[order]
    frames = int(lengths[0])
    episodes = episodes.take(index, frames=frames)

    on_gpu = torch.device(device).type == "cuda"

    def tensor(values: np.ndarray, dtype: torch.dtype) -> Tensor:
        part = torch.from_numpy(np.ascontiguousarray(values.swapaxes(0, 1))).to(dtype)
        # From pinned memory a copy does not wait for what the GPU still does.
        return part.pin_memory().to(device, non_blocking=True) if on_gpu else part.to(device)

    return Batch(
        layout=layout,
        obs=tensor(episodes.obs, torch.float32),
        state=tensor(episodes.state, torch.float32),
        actions=tensor(episodes.actions, torch.float32 if layout.continuous else torch.int64),
        avail_actions=tensor(episodes.avail_actions, torch.bool),
        reward=tensor(episodes.reward, torch.float32),
        terminated=tensor(episodes.terminated, torch.float32),
        filled=tensor(episodes.filled, torch.float32),
        counts=tuple(int((lengths > t).sum()) for t in range(frames)),
    )

"""Frames of a batch laid side by side, time step by time step, so that padding costs nothing."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lab_marl.episodes.batches import Batch
from lab_marl.networks.config import Mask


@dataclass(frozen=True)
class Rows:
    """Some frames of a batch; at each time step those of the first episodes."""

    inside: Tensor
    """(T, B) bool."""
    counts: tuple[int, ...]
    """Frames of each time step, at least up to the last that has any; zeros may follow."""
    whole: bool = False
    """Whether these are all frames. Then nothing is looked up: a lookup waits for a GPU."""

    @property
    def steps(self) -> Tensor:
        """(rows,) int64: the time step of each row."""
        counts = torch.tensor(self.counts, device=self.inside.device)
        return torch.arange(len(self.counts), device=counts.device).repeat_interleave(counts)

    def take(self, values: Tensor) -> Tensor:
        """(rows, ...) of values (T, B, ...)."""
        return values.flatten(0, 1) if self.whole else values[self.inside]

    def narrow(self, values: Tensor, outer: "Rows") -> Tensor:
        """Of values (outer's rows, ...), those of these rows, which are all among them."""
        return values if self is outer else values[outer.take(self.inside)]

    def grid(self, values: Tensor) -> Tensor:
        """(T, B) of one value for each row; 0 elsewhere."""
        if self.whole:
            return values.view(self.inside.shape)
        return values.new_zeros(self.inside.shape).index_put((self.inside,), values)


def select(inside: Tensor) -> Rows:
    """The rows of a mask (T, B) that, at each step, holds a first part of the episodes."""
    counts = tuple(int(count) for count in inside.sum(1) if count)
    return Rows(inside, counts)


def every_row(batch: Batch) -> Rows:
    """All T frames of all B episodes, padding too."""
    steps, episodes = batch.filled.shape
    return Rows(torch.ones_like(batch.packed()), (episodes,) * steps, whole=True)


def filled_rows(batch: Batch) -> Rows:
    """Every frame of an episode."""
    return Rows(batch.packed(), batch.counts)


def cloned_rows(batch: Batch, mask: Mask) -> Rows:
    """The frames over which a cloning term sums: all T of all episodes, or their transitions."""
    if mask == "published":
        return every_row(batch)
    return select(batch.transitions.bool())


def stepped_rows(batch: Batch, mask: Mask) -> Rows:
    """As `cloned_rows`, without the last time step."""
    inside = cloned_rows(batch, mask).inside.clone()
    inside[-1] = False
    return select(inside)


def step_mask(batch: Batch, mask: Mask) -> Tensor:
    """(T, B): the steps that a cloning term counts, by which it is divided. The published code
    divides by the valid steps also where it sums over padding."""
    return batch.valid if mask == "published" else batch.transitions


def total_value(mixer: nn.Module, batch: Batch, rows: Rows, values: Tensor) -> Tensor:
    """(T, B): the mixer's value of one value (rows, n) for each agent; 0 at other frames."""
    return rows.grid(mixer(batch.layout, values, rows.take(batch.state)))

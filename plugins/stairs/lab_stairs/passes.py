"""Which frames of a batch each pass of an update computes."""

from dataclasses import dataclass

import torch
from lab_marl.episodes.batches import Batch
from lab_marl.kernel.choice import Path
from lab_marl.networks.config import Mask
from lab_marl.networks.rows import Rows, every_row, filled_rows
from torch import Tensor


@dataclass(frozen=True)
class Passes:
    """Frames of a batch, time step by time step; each of these lies within `featured`."""

    featured: Rows
    """Those that have features and token dropout."""
    trained: Rows
    """Those of the pass that carries the gradient: whose Q a loss reads."""
    valued: Rows
    """Those of `trained` whose Q_tot is taken."""
    bootstrap: Rows
    """Those of the pass without a gradient, by the online and the target network."""


def passes(batch: Batch, bc_mask: Mask, path: Path) -> Passes:
    """The frames that `path` computes; all give the same losses but for rounding.

    A CUDA graph has fixed shapes, so it takes all frames. The compiled kernel leaves out what
    nobody reads. Torch's path takes the episodes' frames: other sizes of its products would change
    the last digits of runs that began without the kernel.
    """
    every = every_row(batch)
    if path == "cuda_graph":
        return Passes(every, every, every, every)
    episodes = filled_rows(batch)
    featured = every if bc_mask == "published" else episodes
    trained = begins(batch) if path == "cpp" and bc_mask == "filled" else featured
    valued = episodes if bc_mask == "published" else trained
    return Passes(featured, trained, valued, bootstrap(batch) if path == "cpp" else episodes)


def begins(batch: Batch) -> Rows:
    """The frames at which a transition begins."""
    packed = batch.packed()
    return _rows(torch.cat([packed[1:], torch.zeros_like(packed[:1])]))


def bootstrap(batch: Batch) -> Rows:
    """The frames that the pass without a gradient computes: those whose Q' a TD target reads, and
    those before them.

    Nothing reads the frame after a terminal transition. Rows stay sorted: an episode keeps as
    many frames as any after it.
    """
    packed = batch.packed()
    lengths = packed.sum(0)
    last = (lengths - 2).clamp(min=0)
    ended = batch.terminated.gather(0, last[None])[0].bool()
    needed = (lengths - ended.long()).flip(0).cummax(0).values.flip(0)
    return _rows(packed & (torch.arange(len(packed), device=packed.device)[:, None] < needed))


def _rows(inside: Tensor) -> Rows:
    return Rows(inside, tuple(inside.sum(1).tolist()))

"""The gradient of an update as CUDA graphs: one order to the GPU in place of thousands.

An update of a small recurrent network is many small kernels, and the GPU works a few microseconds
on each. What takes long is to order them one by one. A CUDA graph orders them all at once.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lab_marl.episodes.batches import Batch

Work = Callable[[Batch, Tensor | None], Tensor]
"""(batch, kept tokens of every frame or None) -> numbers to report; gradients are left on the
parameters. It must read nothing back from the GPU, and compute all T frames of all B episodes."""
WARM_UPS = 2
"""Plain calls before a capture, in which libraries take their workspaces."""


@dataclass(frozen=True)
class _Captured:
    """One graph, with the memory that it reads and writes at each replay."""

    graph: torch.cuda.CUDAGraph
    batch: Batch
    keep: Tensor | None
    numbers: Tensor
    gradients: Sequence[Tensor | None]


class GraphedGradients:
    """Calls `work` by CUDA graphs: one for each task and padded length, captured at its first use.

    All graphs share one pool of memory, since one replays at a time and nothing is read from it
    after the next has begun.
    """

    def __init__(self, work: Work, parameters: Sequence[nn.Parameter]) -> None:
        self.work, self.parameters = work, parameters
        self.captured: dict[tuple[str, int, int], _Captured] = {}

    def __call__(self, batch: Batch, keep: Tensor | None) -> Tensor:
        """The work's numbers for this batch; its gradients lie on the parameters."""
        frames, episodes = batch.filled.shape
        key = batch.layout.task, padded_length(frames), episodes
        if key not in self.captured:
            self.captured[key] = self._capture(batch.lengthened(key[1]), keep)
        captured = self.captured[key]
        fill(captured.batch, batch)
        if captured.keep is not None and keep is not None:
            captured.keep[: len(keep)].copy_(keep)
        captured.graph.replay()
        for parameter, gradient in zip(self.parameters, captured.gradients, strict=True):
            parameter.grad = gradient
        return captured.numbers

    def _capture(self, batch: Batch, keep: Tensor | None) -> _Captured:
        if keep is not None:
            every = keep.new_ones(batch.filled.numel(), *keep.shape[1:])
            every[: len(keep)] = keep
            keep = every
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM_UPS):
                self.work(batch, keep)
        torch.cuda.current_stream().wait_stream(side)
        for parameter in self.parameters:
            parameter.grad = None  # the graph shall own those that it writes
        graph = torch.cuda.CUDAGraph()
        pool = next((c.graph.pool() for c in self.captured.values()), None)
        with torch.cuda.graph(graph, pool=pool):
            numbers = self.work(batch, keep)
        gradients = [parameter.grad for parameter in self.parameters]
        return _Captured(graph, batch, keep, numbers, gradients)


def padded_length(frames: int) -> int:
    """Frames rounded up to one of four lengths in each doubling, so that few graphs serve all."""
    step = max(1, 2 ** (frames - 1).bit_length() // 8)
    return -(-frames // step) * step


def fill(into: Batch, batch: Batch) -> None:
    """Copy a batch into a longer one of the same task and number of episodes; zeros behind it."""
    for name, value in vars(batch).items():
        if isinstance(value, Tensor):
            place: Tensor = getattr(into, name)
            place[: len(value)].copy_(value)
            place[len(value) :].zero_()

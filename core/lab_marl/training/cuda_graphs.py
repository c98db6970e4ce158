"""The gradient of an update as CUDA graphs: one order to the GPU in place of thousands.

An update of a small recurrent network is many small kernels, and the GPU works a few microseconds
on each. What takes long is to order them one by one. A CUDA graph orders them all at once.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from lab_marl.episodes.batches import Batch

Work = Callable[[Batch, Tensor | None], Tensor]
"""(batch, kept tokens of every frame or None) -> numbers to report; gradients are left on the
parameters. It must read nothing back from the GPU, nor `Batch.counts`, and compute all T frames of
all B episodes."""
WARM_UPS = 2
"""Plain calls before a capture, in which libraries take their workspaces."""


class Replay(Protocol):
    """A call that was recorded."""

    def replay(self) -> None:
        """Do again what the call did, on what its memory now holds."""
        ...


class Recorder(Protocol):
    """Records a call without arguments: what replays it, and what it returned.

    What the call returned lies where each replay writes it.
    """

    def __call__(
        self, call: Callable[[], Tensor], others: Sequence[Any]
    ) -> tuple[Replay, Tensor]: ...


def record(
    call: Callable[[], Tensor], others: Sequence[torch.cuda.CUDAGraph]
) -> tuple[torch.cuda.CUDAGraph, Tensor]:
    """The call as a CUDA graph, in the memory of the other graphs."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(WARM_UPS):
            call()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, pool=others[0].pool() if others else None):
        found = call()
    return graph, found


@dataclass(frozen=True)
class _Recorded:
    """One replay, with the memory that it reads and writes."""

    replay: Replay
    batch: Batch
    keep: Tensor | None
    numbers: Tensor
    gradients: Sequence[Tensor | None]


class GraphedGradients:
    """Calls `work` by CUDA graphs: one for each task and padded length, captured at its first use.

    All graphs share one pool of memory, since one replays at a time and nothing is read from it
    after the next has begun.
    """

    def __init__(
        self, work: Work, parameters: Sequence[nn.Parameter], *, recorder: Recorder = record
    ) -> None:
        self.work, self.parameters, self.recorder = work, parameters, recorder
        self.recorded: dict[tuple[str, int, int, bool], _Recorded] = {}

    def __call__(self, batch: Batch, keep: Tensor | None) -> Tensor:
        """The work's numbers for this batch; its gradients lie on the parameters."""
        frames, episodes = batch.filled.shape
        key = batch.layout.task, padded_length(frames), episodes, keep is None
        if key not in self.recorded:
            self.recorded[key] = self._record(batch.lengthened(key[1]), keep)
        recorded = self.recorded[key]
        fill(recorded.batch, batch)
        if recorded.keep is not None and keep is not None:
            recorded.keep[: len(keep)].copy_(keep)
        recorded.replay.replay()
        for parameter, gradient in zip(self.parameters, recorded.gradients, strict=True):
            parameter.grad = gradient
        return recorded.numbers

    def _record(self, batch: Batch, keep: Tensor | None) -> _Recorded:
        every = None if keep is None else keep.new_ones(batch.filled.numel(), *keep.shape[1:])
        others = [recorded.replay for recorded in self.recorded.values()]
        replay, numbers = self.recorder(lambda: self.work(batch, every), others)
        gradients = [parameter.grad for parameter in self.parameters]
        return _Recorded(replay, batch, every, numbers, gradients)


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

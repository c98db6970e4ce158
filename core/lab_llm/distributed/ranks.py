"""What the processes of one run do together, on torch.distributed; alone, each does nothing."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from torch import Tensor, nn

T = TypeVar("T")
PATIENCE = timedelta(days=1)
"""Longest wait for another rank. Evaluation and verifiers may keep one busy for hours; a run that
really hangs is ended by `hang_timeout_s`."""


def join(*, cuda: bool) -> None:
    """Meet the other ranks, as RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT say."""
    import torch
    from torch import distributed

    if distributed.is_initialized():
        return
    if cuda:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    else:  # accelerate would call it cpu:0, which torch.load does not know
        os.environ["ACCELERATE_TORCH_DEVICE"] = "cpu"
    distributed.init_process_group("nccl" if cuda else "gloo", timeout=PATIENCE)


def barrier() -> None:
    """Returns once every rank has called it."""
    any_rank(False)


def any_rank(flag: bool) -> bool:
    """Whether the flag is set on any rank; all get the same answer."""
    return bool(largest(int(flag)))


def largest(value: int) -> int:
    """The largest of all ranks' values."""
    import torch
    from torch import distributed

    if not _together():
        return value
    device = "cuda" if distributed.get_backend() == "nccl" else "cpu"
    seen = torch.tensor(value, device=device)
    distributed.all_reduce(seen, distributed.ReduceOp.MAX)
    return int(seen.item())


def is_first() -> bool:
    """Whether this is the rank that writes files."""
    from torch import distributed

    return not _together() or distributed.get_rank() == 0


def gather_objects(value: T) -> list[T]:
    """The values of all ranks in rank order, on every rank; `[value]` alone."""
    from torch import distributed

    if not _together():
        return [value]
    found: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(found, value)
    return found


def pooled(values: Mapping[str, list[T]]) -> dict[str, list[T]]:
    """The lists of all ranks joined by name, those under `time/` left as they are on this rank."""
    mine = {name: list(found) for name, found in values.items() if name.startswith("time/")}
    shared = {name: found for name, found in values.items() if name not in mine}
    for of_rank in gather_objects(shared):
        for name, found in of_rank.items():
            mine.setdefault(name, []).extend(found)
    return mine


def shares_weights(model: "nn.Module") -> bool:
    """Whether each rank holds a part of every weight (ZeRO-3)."""
    return hasattr(next(model.parameters()), "ds_id")


def whole_zeros(parameter: "nn.Parameter") -> "Tensor":
    """Zeros in the shape of the whole parameter: beside it, or on the CPU where ranks share it."""
    import torch

    whole = getattr(parameter, "ds_shape", None)
    if whole is None:
        return torch.zeros_like(parameter, requires_grad=False)
    return torch.zeros(whole, dtype=parameter.dtype, device="cpu")


@contextmanager
def whole_weights(model: "nn.Module", optimizer: Any) -> Iterator[None]:
    """While entered, every rank holds all of the model's weights, which ZeRO-3 spreads otherwise.

    All ranks enter together; inside, each may run the model as often as it likes. `optimizer` is
    the prepared one, which carries ZeRO-3's hooks.
    """
    if not shares_weights(model):
        yield
        return
    import deepspeed
    from trl.models.utils import add_hooks, remove_hooks

    with deepspeed.zero.GatheredParameters(list(model.parameters())):
        remove_hooks(optimizer)
        try:
            yield
        finally:
            add_hooks(optimizer)


@contextmanager
def whole_parameters(
    parameters: "Sequence[nn.Parameter]", *, changed: bool = False
) -> Iterator[None]:
    """While entered, every rank holds these parameters whole, which ZeRO-3 spreads otherwise.

    `changed`: they may be written to, and what the first rank wrote is kept. All ranks enter
    together, each with the same parameters; no model may run inside.
    """
    if not hasattr(parameters[0], "ds_id"):
        yield
        return
    import deepspeed

    with deepspeed.zero.GatheredParameters(parameters, modifier_rank=0 if changed else None):
        yield


def _together() -> bool:
    from torch import distributed

    return distributed.is_initialized() and distributed.get_world_size() > 1

"""One step's rollouts cut into micro-batches of like length, without their common padding."""

from collections.abc import Mapping

import torch
from torch import Tensor

PROMPT = ("prompt_ids", "prompt_mask")


def by_length(batch: Mapping[str, Tensor], num_batches: int) -> list[dict[str, Tensor]]:
    """`num_batches` equal parts of a batch of B rollouts, the shortest completions first.

    `prompt_*` (B, P) are padded left and lose the columns that are padding in a whole part;
    every other (B, T) tensor is padded right and loses its own; (B,) and scalars stay. The parts
    must belong to one optimizer step, so that their order is of no account.
    """
    lengths = batch["completion_mask"].sum(1)
    order = torch.argsort(lengths, stable=True)
    parts = order.chunk(num_batches)
    if len({len(rows) for rows in parts}) > 1 or len(parts) != num_batches:
        raise ValueError(f"{len(order)} rollouts do not make {num_batches} equal micro-batches")
    return [_part(batch, rows) for rows in parts]


def _part(batch: Mapping[str, Tensor], rows: Tensor) -> dict[str, Tensor]:
    prompt = int(batch["prompt_mask"][rows].sum(1).max())
    completion = int(batch["completion_mask"][rows].sum(1).max())
    part = {}
    for name, value in batch.items():
        if value.dim() == 0:
            part[name] = value
        elif value.dim() == 1:
            part[name] = value[rows]
        elif name in PROMPT:
            part[name] = value[rows][:, value.shape[1] - prompt :]
        else:
            part[name] = value[rows][:, :completion]
    return part

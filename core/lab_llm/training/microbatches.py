"""One step's rollouts cut into micro-batches of like length, without their common padding."""

from collections.abc import Mapping

import torch
from labrun.errors import LabError
from torch import Tensor

from lab_llm.training.config import GRPOSettings

PROMPTS = ("prompt", "teacher_prompt")
"""What is padded left: `{name}_ids` with `{name}_mask`."""


def micro_batch_size(settings: GRPOSettings, num_processes: int) -> int:
    """Rollouts of one forward and backward pass of one process (count).

    The largest divisor of one process's rollouts of one optimizer step (prompts_per_step *
    num_generations / num_processes / num_minibatches) that is at most settings.micro_batch_size.
    Raises LabError where the rollouts cannot be shared out evenly.
    """
    rollouts = settings.prompts_per_step * settings.num_generations
    shares = num_processes * settings.num_minibatches
    if rollouts % shares:
        raise LabError(
            f"{num_processes} processes cannot share {rollouts} rollouts (prompts_per_step * "
            f"num_generations) evenly: they must be a multiple of {shares} (processes * "
            "num_minibatches); change trainer.prompts_per_step or resources.num_processes"
        )
    share = rollouts // shares
    largest = min(settings.micro_batch_size, share)
    return next(size for size in range(largest, 0, -1) if share % size == 0)


def minibatches(
    batch: Mapping[str, Tensor], num_steps: int, num_parts: int, *, seed: int
) -> list[dict[str, Tensor]]:
    """`num_parts` equal micro-batches of B rollouts for `num_steps` optimizer steps, in order.

    Each step has B / num_steps rollouts, drawn at random by `seed` where there are several steps,
    and its own micro-batches of like length. `num_steps` must divide `num_parts`.
    """
    if num_steps == 1:
        return by_length(batch, num_parts)
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(batch["completion_mask"]), generator=generator)
    per_step = num_parts // num_steps
    return [
        part
        for rows in order.chunk(num_steps)
        for part in by_length(
            {k: v[rows.to(v.device)] if v.dim() else v for k, v in batch.items()}, per_step
        )
    ]


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
    completion = int(batch["completion_mask"][rows].sum(1).max())
    prompts = {
        f"{name}_{what}": int(batch[f"{name}_mask"][rows].sum(1).max())
        for name in PROMPTS
        if f"{name}_mask" in batch
        for what in ("ids", "mask")
    }
    part = {}
    for name, value in batch.items():
        if value.dim() == 0:
            part[name] = value
        elif value.dim() == 1:
            part[name] = value[rows]
        elif name in prompts:
            part[name] = value[rows][:, value.shape[1] - prompts[name] :]
        else:
            part[name] = value[rows][:, :completion]
    return part


def check_rollouts(settings: GRPOSettings, num_processes: int) -> None:
    """LabError where the rollouts of a step cannot be shared by so many processes."""
    micro_batch_size(settings, num_processes)

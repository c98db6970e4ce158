"""One step's rollouts cut into micro-batches of like length, without their common padding."""

import torch
from jaxtyping import Int
from labrun.errors import LabError
from torch import Tensor

from lab_llm.training.config import GRPOSettings
from lab_llm.training.rollouts import Rollouts
from lab_llm.training.zero import OptimizerStep


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


def minibatches(rollouts: Rollouts, num_steps: int, num_parts: int, *, seed: int) -> list[Rollouts]:
    """`num_parts` equal micro-batches of B rollouts for `num_steps` optimizer steps, in order."""
    lengths = rollouts.lengths.cpu()
    rows = micro_batch_rows(lengths, num_steps, num_parts, seed=seed)
    return [rollouts.part(part) for part in rows]


def micro_batch_rows(
    lengths: Int[Tensor, " B"], num_steps: int, num_parts: int, *, seed: int
) -> list[Int[Tensor, " b"]]:
    """The rollouts of each micro-batch, by the rollouts' lengths (tokens).

    Each step has B / num_steps rollouts, drawn at random by `seed` where there are several steps,
    and its own micro-batches of like length. `num_steps` must divide `num_parts`.
    """
    if num_steps == 1:
        return by_length(lengths, num_parts)
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(lengths), generator=generator)
    return [
        of_step[part]
        for of_step in order.chunk(num_steps)
        for part in by_length(lengths[of_step], num_parts // num_steps)
    ]


def by_length(lengths: Int[Tensor, " B"], num_batches: int) -> list[Int[Tensor, " b"]]:
    """The rollouts of `num_batches` equal parts, the shortest first.

    The parts must belong to one optimizer step, so that their order is of no account.
    """
    parts = torch.argsort(lengths, stable=True).chunk(num_batches)
    if len({len(rows) for rows in parts}) > 1 or len(parts) != num_batches:
        raise ValueError(f"{len(lengths)} rollouts do not make {num_batches} equal micro-batches")
    return list(parts)


def check_rollouts(settings: GRPOSettings, num_processes: int) -> None:
    """LabError where the rollouts of a step cannot be shared by so many processes."""
    micro_batch_size(settings, num_processes)


def optimizer_step(settings: GRPOSettings, num_processes: int) -> OptimizerStep:
    """One optimizer step of the run. Raises LabError where its rollouts cannot be shared out."""
    rollouts = settings.prompts_per_step * settings.num_generations
    return OptimizerStep(
        micro_batch_size=micro_batch_size(settings, num_processes),
        batch_size=rollouts // settings.num_minibatches,
        batch_key="trainer.prompts_per_step",
        learning_rate=settings.learning_rate,
    )

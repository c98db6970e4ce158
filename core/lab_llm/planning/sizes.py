"""Work, memory and disk of a GRPO run, from its settings and the model's sizes."""

from collections.abc import Mapping
from dataclasses import dataclass

from labrun.plan import Setup

from lab_llm.planning import estimates
from lab_llm.planning.process_memory import (
    KEPT,
    PLANNED_PROCESSES,
    kept_in_training,
    loaded_dtype,
    process_parts,
    whole_weights,
)
from lab_llm.planning.shapes import shape_of_model
from lab_llm.sampling.engines import DECODER
from lab_llm.training.config import GRPOSettings
from lab_llm.training.distillation_config import DistillationConfig
from lab_llm.training.engines import ENGINES


@dataclass(frozen=True)
class TeacherSize:
    """What a method's teacher takes of a GPU."""

    num_copies: float = 0.0
    """Copies of the model besides the policy."""
    distillation: DistillationConfig | None = None
    """The objective's settings, where it compares whole distributions of tokens."""


NO_TEACHER = TeacherSize()


def model_shape(settings: GRPOSettings) -> estimates.ModelShape | None:
    """The sizes of the model that the run trains."""
    return shape_of_model(settings.model)


def sizes(settings: GRPOSettings, shape: estimates.ModelShape | None) -> dict[str, object]:
    """Work of the run, and its disk in GiB (2**30 bytes), for the dry run.

    Of a run that only evaluates nothing but the model's size.
    """
    known = {} if shape is None else {"parameters": shape.num_parameters}
    if settings.max_steps == 0:
        return {"optimizer_steps": 0, **known}
    todo = estimates.work(
        max_steps=settings.max_steps,
        num_minibatches=settings.num_minibatches,
        prompts_per_step=settings.prompts_per_step,
        num_generations=settings.num_generations,
        max_completion_length=settings.max_completion_length,
    )
    facts: dict[str, object] = {
        "optimizer_steps": settings.max_steps,
        "rollouts_per_step": todo.rollouts_per_batch,
        "rollouts": todo.rollouts,
        "tokens_per_step": f"at most {todo.tokens_per_batch:,}",
        "tokens": f"at most {todo.tokens:,}",
        **_micro_batches(settings),
    }
    if shape is None:
        return facts
    disk = estimates.checkpoint_bytes(
        shape.num_parameters, dtype=loaded_dtype(settings), deepspeed=bool(settings.deepspeed)
    )
    return facts | known | {"checkpoint_gib": round(disk / estimates.GIB, 3)}


def _micro_batches(settings: GRPOSettings) -> dict[str, object]:
    """The micro-batch size of one process and, if it differs, that of each of several."""
    from lab_llm.training.microbatches import micro_batch_size

    rollouts = settings.prompts_per_step * settings.num_generations
    sizes = {
        n: micro_batch_size(settings, n)
        for n in PLANNED_PROCESSES
        if rollouts % (n * settings.num_minibatches) == 0
    }
    return {
        "micro_batch_size" if n == 1 else f"micro_batch_size, {n} processes": size
        for n, size in sizes.items()
        if n == 1 or size != sizes[1]
    }


def kept_bytes(
    settings: GRPOSettings, shape: estimates.ModelShape, setup: Setup, *, teacher: TeacherSize
) -> float:
    """What a process keeps of a GPU while an evaluation samples (bytes).

    Before and after the training these are the weights. During it gradients and optimizer are there
    too, and ZeRO-3 gathers the weights.
    """
    if settings.max_steps == 0 or settings.evaluate_every == 0:
        return whole_weights(settings, shape, trains=settings.max_steps > 0)
    parts = memory(settings, shape, setup.num_processes, teacher)
    return kept_in_training(settings, shape, parts)


def memory(
    settings: GRPOSettings,
    shape: estimates.ModelShape,
    num_processes: int,
    teacher: TeacherSize = NO_TEACHER,
) -> dict[str, float]:
    """What takes memory in a process that trains -> bytes of it, a vLLM there not included.

    `rollouts` is what sampling without a vLLM takes beyond the parts of the update, which are gone
    then.
    """
    rollouts = settings.prompts_per_step * settings.num_generations // num_processes
    share = rollouts // settings.num_minibatches
    length = (settings.max_prompt_length or 0) + settings.max_completion_length
    parts = process_parts(
        settings,
        shape,
        tokens=min(settings.micro_batch_size, max(share, 1)) * length,
        num_processes=num_processes,
        num_copies=int(settings.beta > 0) + teacher.num_copies,
        distillation=teacher.distillation,
    )
    engine = ENGINES[settings.sampler]
    if not engine.uses_vllm():
        sampled = estimates.sampling_bytes(
            shape,
            rows=rollouts,
            length=length,
            dtype=loaded_dtype(settings),
            fuses_weights=engine.kind is DECODER,
        )
        kept = kept_in_training(settings, shape, parts)
        if not settings.deepspeed:  # a step leaves no gradients behind
            kept -= parts["gradients"]
        parts["rollouts"] = max(0.0, kept + sampled - sum(parts.values()))
    return parts


def gpu_parts(
    settings: GRPOSettings, parts: Mapping[str, float], *, vllm_needs: float
) -> dict[str, float]:
    """What the memory of the least GPU goes to on which the process runs -> bytes of it.

    `parts` are the process's own. `vllm` is its share of that GPU, which holds at least
    `vllm_needs` (bytes). `free` is left over where that is what asks for so large a GPU.
    """
    share = ENGINES[settings.sampler].gpu_share(settings)
    if not share:
        return {**parts}
    sleeps, process = settings.vllm_enable_sleep_mode, sum(parts.values())
    whole = estimates.gpu_bytes(
        process,
        vllm_share=share,
        vllm_needs=vllm_needs,
        sleeps_beside=sum(parts[name] for name in KEPT) if sleeps else None,
    )
    held = {"vllm, asleep": estimates.VLLM_WORK} if sleeps else {"vllm": share * whole}
    free = float(round(whole - process - sum(held.values())))
    return {**parts, **held, "free": free}

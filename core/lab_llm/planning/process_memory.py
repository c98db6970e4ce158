"""Memory of one process that trains a policy, whichever trainer it is."""

from collections.abc import Mapping

from lab_llm.planning import estimates
from lab_llm.planning.estimates import GIB
from lab_llm.training.config import TrainedWeights
from lab_llm.training.distillation_config import DistillationConfig
from lab_llm.training.precision import trained_model
from lab_llm.training.zero import offloaded, zero_stage

PLANNED_PROCESSES = (1, 4, 8)
"""Numbers of processes that a dry run estimates the memory for."""
KEPT = ("weights", "gradients", "optimizer", "copies")
"""Parts that stay from step to step: these are counted, not estimated."""


def loaded_dtype(settings: TrainedWeights, *, trains: bool = True) -> str:
    """The precision in which a process holds the weights: while it trains, or only evaluates."""
    if not trains:
        return settings.model.dtype
    deepspeed = bool(settings.deepspeed)
    master = settings.master_weights
    return trained_model(settings.model, master_weights=master, deepspeed=deepspeed).dtype


def whole_weights(
    settings: TrainedWeights, shape: estimates.ModelShape, *, trains: bool = True
) -> float:
    """The model's weights as `loaded_dtype` says, undivided (bytes)."""
    return float(estimates.BYTES[loaded_dtype(settings, trains=trains)] * shape.num_parameters)


def process_parts(
    settings: TrainedWeights,
    shape: estimates.ModelShape,
    *,
    tokens: int,
    num_processes: int,
    num_copies: float = 0.0,
    distillation: DistillationConfig | None = None,
) -> dict[str, float]:
    """What takes memory of a GPU -> bytes of it, for micro-batches of `tokens` tokens.

    `distillation`: the objective's settings, where it compares whole distributions of tokens.

    ZeRO-3 gathers all weights to save them and to sample or score with them outside of a step;
    activations are gone then. `gathered` is what that takes beyond these.
    """
    dtype, loaded = settings.model.dtype, loaded_dtype(settings)
    state = estimates.state_bytes(
        shape.num_parameters,
        dtype=loaded,
        # a layer that is computed anew casts its own weights, and drops them
        autocast=loaded != dtype and not settings.gradient_checkpointing,
        zero_stage=zero_stage(settings),
        num_processes=num_processes,
        num_copies=num_copies,
    ).without(offloaded(settings))
    activations = estimates.activation_bytes(
        shape,
        tokens=tokens,
        dtype=dtype,
        checkpointing=settings.gradient_checkpointing,
        autocast=loaded != dtype,
    )
    head = float(estimates.head_bytes(shape, tokens=tokens))
    if distillation is not None:
        compared = estimates.distillation_bytes(
            shape,
            tokens=tokens,
            chunk_size=distillation.chunk_size,
            top_k=distillation.top_k,
            alpha=distillation.alpha,
            is_mixture=distillation.weight < 1,
            autocast=loaded != dtype,
        )
        head = max(head, float(compared))
    gathered = whole_weights(settings, shape) if zero_stage(settings) == 3 else 0.0
    return {
        "weights": state.weights,
        "gradients": state.gradients,
        "optimizer": state.optimizer,
        "copies": state.copies,
        "activations": float(activations),
        "head": head,
        "gathered": max(0.0, gathered - activations - head),
    }


def kept_in_training(
    settings: TrainedWeights, shape: estimates.ModelShape, parts: Mapping[str, float]
) -> float:
    """What a process keeps of a GPU while an evaluation between two steps samples (bytes)."""
    gathered = whole_weights(settings, shape) if zero_stage(settings) == 3 else 0.0
    return sum(parts[name] for name in KEPT) + gathered


def gathered_facts(settings: TrainedWeights, shape: estimates.ModelShape) -> dict[str, object]:
    """What ZeRO-3 gathers in every process to save, sample, score and evaluate; else nothing."""
    if zero_stage(settings) < 3:
        return {}
    size = whole_weights(settings, shape) / GIB
    return {"gathered_gib": f"{size:.3g} in every process, to save, to sample and to evaluate"}


def shown(parts: Mapping[str, float]) -> str:
    """The sum (GiB) and what it is made of."""
    named = ", ".join(f"{part} {_gib(size)}" for part, size in parts.items() if size)
    return f"{_gib(sum(parts.values()))} ({named})"


def _gib(size: float) -> str:
    gib = size / GIB
    return f"{gib:,.0f}" if gib >= 1000 else f"{gib:.3g}"


def memory_fact(num_processes: int) -> str:
    """The name of the fact that says what one of so many processes takes."""
    return f"gpu_memory_gib, {num_processes} process{'es' if num_processes > 1 else ''}"

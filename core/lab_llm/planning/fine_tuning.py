"""Memory of supervised fine-tuning in one process, before the run."""

from collections.abc import Mapping
from typing import Literal

from lab_llm.planning import estimates
from lab_llm.planning.estimates import GIB
from lab_llm.planning.gpus import check_kept
from lab_llm.planning.shapes import shape_of_model
from lab_llm.policy.config import PolicyConfig

Dtype = Literal["float32", "bfloat16"]


def facts(
    model: PolicyConfig,
    *,
    trained: PolicyConfig,
    micro_batch_size: int,
    max_completion_length: int,
    checkpointing: bool,
    samples_by_vllm: bool,
) -> dict[str, object]:
    """What one GPU holds (GiB) while it trains, and before, while it samples the responses.

    `trained` is the model as it is loaded. Prompts are not counted: they are short beside a
    response. Nothing is known of a model that is not here and not a published one.

    Raises LabError where the GPU that is here cannot hold weights, gradients and optimizer.
    """
    shape = shape_of_model(model)
    if shape is None:
        return {}
    tokens = micro_batch_size * max_completion_length
    training = training_bytes(
        shape, tokens=tokens, dtype=model.dtype, loaded=trained.dtype, checkpointing=checkpointing
    )
    found = {"parameters": shape.num_parameters} | shown(training)
    if samples_by_vllm:
        # it holds the weights as they are trained, and stands beside them
        vllm = estimates.vllm_bytes(shape, length=max_completion_length, dtype=trained.dtype)
        sampling = {"weights": training["weights"], "vllm": sum(vllm.values())}
        found |= shown(sampling, name="gpu_memory_gib, sampling")
    return found


def training_bytes(
    shape: estimates.ModelShape,
    *,
    tokens: int,
    dtype: Dtype,
    loaded: Dtype | None = None,
    checkpointing: bool = False,
) -> dict[str, float]:
    """What takes a GPU's memory -> bytes of it, for micro-batches of `tokens` tokens.

    `loaded` is the precision of the weights, `dtype` that of the products; None: the same.

    Raises LabError where the GPU that is here cannot hold weights, gradients and optimizer.
    """
    loaded = loaded or dtype
    state = estimates.state_bytes(
        shape.num_parameters,
        dtype=loaded,
        zero_stage=0,
        num_processes=1,
        autocast=loaded != dtype and not checkpointing,
    )
    activations = estimates.activation_bytes(
        shape,
        tokens=tokens,
        dtype=dtype,
        checkpointing=checkpointing,
        autocast=loaded != dtype,
    )
    parts = {
        "weights": state.weights,
        "gradients": state.gradients,
        "optimizer": state.optimizer,
        "activations": activations,
        "head": estimates.head_bytes(shape, tokens=tokens),
    }
    least = sum(parts.values()) / GIB
    check_kept(parts, advice=f"take one of {least:.3g} GiB or more, or a smaller model")
    return parts


def shown(parts: Mapping[str, float], *, name: str = "gpu_memory_gib") -> dict[str, object]:
    """The fact `name`: the sum (GiB) and what it is made of."""
    named = ", ".join(f"{part} {size / GIB:.3g}" for part, size in parts.items())
    return {name: f"{sum(parts.values()) / GIB:.3g} ({named})"}

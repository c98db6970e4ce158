"""Memory of supervised fine-tuning in one process, before the run."""

from lab_llm.planning import estimates
from lab_llm.planning.estimates import GIB
from lab_llm.planning.gpus import check_kept
from lab_llm.planning.shapes import shape_of_model
from lab_llm.policy.config import PolicyConfig


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
    parameters, autocast = shape.num_parameters, trained.dtype != model.dtype
    tokens = micro_batch_size * max_completion_length
    state = estimates.state_bytes(
        parameters,
        dtype=trained.dtype,
        zero_stage=0,
        num_processes=1,
        autocast=autocast and not checkpointing,
    )
    training = {
        "weights": state.weights,
        "gradients": state.gradients,
        "optimizer": state.optimizer,
        "activations": estimates.activation_bytes(
            shape,
            tokens=tokens,
            dtype=model.dtype,
            checkpointing=checkpointing,
            autocast=autocast,
        ),
        "head": estimates.head_bytes(shape, tokens=tokens),
    }
    least = sum(training.values()) / GIB
    check_kept(training, advice=f"take one of {least:.3g} GiB or more, or a smaller model")
    found: dict[str, object] = {"parameters": parameters, "gpu_memory_gib": _shown(training)}
    if samples_by_vllm:
        # it holds the weights as they are trained, and stands beside them
        vllm = estimates.vllm_bytes(shape, length=max_completion_length, dtype=trained.dtype)
        sampling = {"weights": state.weights, "vllm": sum(vllm.values())}
        found["gpu_memory_gib, sampling"] = _shown(sampling)
    return found


def _shown(parts: dict[str, float]) -> str:
    named = ", ".join(f"{name} {size / GIB:.3g}" for name, size in parts.items())
    return f"{sum(parts.values()) / GIB:.3g} ({named})"

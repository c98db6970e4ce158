"""What a colocated vLLM needs of a GPU, and whether its share is enough."""

from labrun.errors import LabError
from labrun.plan import Setup

from lab_llm.evaluation.accuracy import AccuracyEvaluator
from lab_llm.planning import estimates
from lab_llm.planning.sizes import model_shape
from lab_llm.policy.policy import KnownPolicy
from lab_llm.problems import ProblemSets
from lab_llm.training.config import GRPOSettings
from lab_llm.training.engines import ENGINES
from lab_llm.training.vllm_length import longest_sequence


def facts(
    settings: GRPOSettings, setup: Setup, policy: KnownPolicy | None, sets: ProblemSets | None
) -> dict[str, object]:
    """What vLLM takes in the training process; nothing where it is not there, or nothing is trained.

    Raises LabError where `vllm_max_model_length` is too short for the run, its processes or the
    model's heads do not part by `vllm_tensor_parallel_size`, or the share of a GPU of this machine
    is too small for the model and one sequence.
    """
    share, shape = ENGINES[settings.sampler].gpu_share(settings), model_shape(settings)
    if not share or settings.max_steps == 0:
        return {}
    _check_parallel(settings, shape, num_processes=setup.num_processes)
    if shape is None:
        return {}
    length = _length(settings, setup, policy, sets, limit=shape.context_length)
    parts = estimates.vllm_bytes(
        shape,
        length=length,
        dtype=settings.model.dtype,
        tensor_parallel=settings.vllm_tensor_parallel_size,
    )
    _check_share(settings, parts, length=length, share=share)
    needed = sum(parts.values())
    named = ", ".join(f"{name} {size / estimates.GIB:.3g}" for name, size in parts.items())
    return {
        "vllm_max_model_length": length,
        "vllm_needs_gib": f"{needed / estimates.GIB:.3g} ({named})",
        "vllm_gpu_gib": f"a share of {share:g} needs a GPU of {needed / share / estimates.GIB:.3g}",
    }


def _check_parallel(
    settings: GRPOSettings, shape: estimates.ModelShape | None, *, num_processes: int
) -> None:
    """LabError where vLLM cannot spread the model over so many processes."""
    size = settings.vllm_tensor_parallel_size
    divisors = [n for n in range(1, num_processes + 1) if num_processes % n == 0]
    allowed = [n for n in divisors if shape is None or _parts(shape, n)]
    if size in allowed:
        return
    heads = f" and the model's {shape.num_heads} heads" if shape is not None else ""
    raise LabError(
        f"trainer.vllm_tensor_parallel_size={size} must divide the run's number of processes, "
        f"{num_processes},{heads}; allowed: {', '.join(map(str, allowed))}; change it, or "
        "resources.num_gpus"
    )


def _parts(shape: estimates.ModelShape, size: int) -> bool:
    """Whether vLLM can deal the heads out to so many GPUs; it repeats heads of keys."""
    kv = shape.num_kv_heads
    return shape.num_heads % size == 0 and (kv % size == 0 or size % kv == 0)


def _length(
    settings: GRPOSettings,
    setup: Setup,
    policy: KnownPolicy | None,
    sets: ProblemSets | None,
    *,
    limit: int,
) -> int:
    """The longest sequence; where the model is not here, as far as the settings tell it."""
    asked = settings.vllm_max_model_length
    if policy is None or sets is None:
        completions = [settings.max_completion_length]
        completions += [
            one.config.max_new_tokens
            for one in setup.evaluators.values()
            if isinstance(one, AccuracyEvaluator)
        ]
        needed = (settings.max_prompt_length or 0) + max(completions)
        return asked or min(needed, limit or needed)
    needed = longest_sequence(policy, sets, settings, setup.evaluators.values())
    if asked is not None and asked < needed:
        raise LabError(
            f"trainer.vllm_max_model_length={asked}: the run samples up to {needed} tokens, prompt "
            "and completion, its evaluations included; raise it, or leave it out"
        )
    return asked or needed


def _check_share(
    settings: GRPOSettings, parts: dict[str, float], *, length: int, share: float
) -> None:
    """LabError where a GPU is here, and its share holds less than the model and one sequence."""
    import torch

    if not torch.cuda.is_available():
        return
    whole = torch.cuda.get_device_properties(0).total_memory
    needed, gib = sum(parts.values()), estimates.GIB
    if share * whole >= needed:
        return
    named = ", ".join(f"{name} {size / gib:.3g}" for name, size in parts.items())
    advice = (
        f"set it to {needed / whole + 0.005:.2f}" if needed < 0.95 * whole else "take a larger GPU"
    )
    raise LabError(
        f"trainer.vllm_gpu_memory_utilization={settings.vllm_gpu_memory_utilization:g} of this "
        f"GPU's {whole / gib:.3g} GiB is {share * whole / gib:.3g}; vLLM needs {needed / gib:.3g} "
        f"({named}) for one sequence of {length} tokens; {advice}, or lower "
        "trainer.max_completion_length"
    )

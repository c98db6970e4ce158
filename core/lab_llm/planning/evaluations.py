"""What an evaluation takes of a GPU that opens a vLLM of its own beside the training."""

import math
from collections.abc import Iterator

from labrun.errors import LabError
from labrun.plan import Setup

from lab_llm.evaluation.accuracy import AccuracyEvaluator
from lab_llm.planning import estimates
from lab_llm.planning.estimates import GIB
from lab_llm.sampling.engines import VLLM
from lab_llm.sampling.opening import AUTO, best_here


def facts(
    setup: Setup, shape: estimates.ModelShape, *, kept: float, dtype: str, shares_vllm: bool
) -> dict[str, object]:
    """The least GPU (GiB) for each evaluator whose vLLM is not the training's.

    `kept`: what the training keeps of a GPU meanwhile (bytes). `dtype`: of the weights that vLLM
    loads. Raises LabError where a GPU is here and smaller.
    """
    found: dict[str, object] = {}
    for name, one in _opening(setup, shares_vllm=shares_vllm):
        config = one.config
        share, split = config.vllm_gpu_memory_utilization, config.vllm_tensor_parallel
        parts = estimates.vllm_bytes(
            shape,
            length=config.vllm_max_model_len or config.max_new_tokens,
            dtype=dtype,
            tensor_parallel=split,
        )
        needs = sum(parts.values())
        beside = kept / (1 - share) if share < 1 else float("inf")
        least = max(beside, needs / share)
        found[f"gpu_memory_gib, evaluation {name}"] = (
            f"{least / GIB:.3g} (the training keeps {kept / GIB:.3g}; vLLM takes a share of "
            f"{share:g} and needs {needs / GIB:.3g})"
        )
        _check(one, kept=kept, needs=needs)
    return found


def _opening(setup: Setup, *, shares_vllm: bool) -> Iterator[tuple[str, AccuracyEvaluator]]:
    """The evaluators that open a vLLM: those that ask for it, or take the best that is here."""
    if shares_vllm:
        return
    for name, one in setup.evaluators.items():
        if isinstance(one, AccuracyEvaluator):
            engine = one.config.engine
            if (best_here() if engine == AUTO else engine) == VLLM.name:
                yield name, one


def _check(one: AccuracyEvaluator, *, kept: float, needs: float) -> None:
    """LabError where a GPU is here that has no room for both."""
    import torch

    if not torch.cuda.is_available():
        return
    whole = torch.cuda.get_device_properties(0).total_memory
    share = one.config.vllm_gpu_memory_utilization
    if share * whole >= needs and kept + share * whole <= whole:
        return
    key = f"evaluator.{one.section}"
    room = math.floor(100 * (whole - kept) / whole) / 100
    advice = f"set it to {room:.2f}, " if room * whole >= needs else ""
    raise LabError(
        f"{key}.vllm_gpu_memory_utilization={share:g}: the vLLM of this evaluation takes "
        f"{share * whole / GIB:.3g} of this GPU's {whole / GIB:.3g} GiB and needs "
        f"{needs / GIB:.3g}, beside {kept / GIB:.3g} of the training; {advice}"
        f"take {key}.engine=cpu, or a vLLM in the training process, which evaluations share"
    )

"""What an evaluation takes of a GPU that opens a vLLM of its own beside the training."""

import math

from labrun.errors import LabError
from labrun.plan import Setup

from lab_llm.planning import estimates
from lab_llm.planning.estimates import GIB
from lab_llm.planning.gpus import KnownGPU, known_gpu
from lab_llm.sampling.config import SamplingConfig
from lab_llm.sampling.engines import VLLM
from lab_llm.sampling.opening import AUTO, OpensEngine, best_here


def facts(
    setup: Setup, shape: estimates.ModelShape, *, kept: float, dtype: str, shares_vllm: bool
) -> dict[str, object]:
    """The least GPU (GiB) for each evaluator whose vLLM is not the training's.

    `kept`: what the training keeps of a GPU meanwhile (bytes). `dtype`: of the weights that vLLM
    loads. Raises LabError where the GPU that is here, or asked for, is smaller.
    """
    found: dict[str, object] = {}
    for name, one in () if shares_vllm else setup.evaluators.items():
        if isinstance(one, OpensEngine):
            found |= beside(
                f"evaluation {name}",
                one.engine_settings,
                shape,
                setup,
                kept=kept,
                dtype=dtype,
                length=one.longest_planned,
                section=f"evaluator.{one.section}",
            )
    return found


def beside(
    work: str,
    sampling: SamplingConfig,
    shape: estimates.ModelShape,
    setup: Setup,
    *,
    kept: float,
    dtype: str,
    length: int,
    section: str = "",
) -> dict[str, object]:
    """The least GPU (GiB) for sampling with a vLLM of its own; nothing with another engine.

    `kept`: what else stays on the GPU (bytes); `length`: the longest sequence (tokens); `section`:
    where the settings stand, empty where they cannot be set. Raises LabError where the GPU that is
    here, or asked for, is smaller.
    """
    engine = best_here() if sampling.engine == AUTO else sampling.engine
    if engine != VLLM.name:
        return {}
    share = sampling.vllm_gpu_memory_utilization
    parts = estimates.vllm_bytes(
        shape,
        length=min(length, shape.context_length or length),
        dtype=dtype,
        tensor_parallel=sampling.vllm_tensor_parallel,
    )
    needs = sum(parts.values())
    around = kept / (1 - share) if share < 1 else float("inf")
    _check(work, share, known_gpu(setup), kept=kept, needs=needs, section=section)
    return {
        f"gpu_memory_gib, {work}": (
            f"{max(around, needs / share) / GIB:.3g} (the training keeps {kept / GIB:.3g}; vLLM "
            f"takes a share of {share:g} and needs {needs / GIB:.3g})"
        )
    }


def _check(
    work: str, share: float, gpu: KnownGPU | None, *, kept: float, needs: float, section: str
) -> None:
    """LabError where the GPU has no room for both."""
    if gpu is None:
        return
    whole = gpu.memory
    if share * whole >= needs and kept + share * whole <= whole:
        return
    key = f"{section}.vllm_gpu_memory_utilization={share:g}: the vLLM of this evaluation"
    room = math.floor(100 * (whole - kept) / whole) / 100
    advice = f"set it to {room:.2f}, " if section and room * whole >= needs else ""
    other = f"{section}.engine=cpu" if section else "trainer.sampler=cpu"
    shared = ", or a vLLM in the training process, which evaluations share" if section else ""
    raise LabError(
        f"{key if section else f'trainer.sampler=vllm: the vLLM for {work}'} takes "
        f"{share * whole / GIB:.3g} of {gpu.gib} and needs "
        f"{needs / GIB:.3g}, beside {kept / GIB:.3g} of the training; {advice}take {other}{shared}"
    )

"""What an evaluation takes of a GPU that opens a vLLM of its own beside the training."""

import math
from collections.abc import Mapping
from typing import Literal

from labrun.errors import LabError
from labrun.plan import Setup

from lab_llm.planning import estimates
from lab_llm.planning.estimates import GIB
from lab_llm.planning.gpus import KnownGPU, known_gpu
from lab_llm.sampling.config import SamplingConfig
from lab_llm.sampling.engines import VLLM, check_temperature
from lab_llm.sampling.opening import AUTO, OpensEngine, best_for

When = Literal["training", "start", "alone"]
"""Between the steps of a training and at its end, before it, or in a run that has none."""
INSTEAD: Mapping[When, str] = {
    "training": ", or a vLLM in the training process, which evaluations share",
    "start": ", or trainer.evaluate_start=false",
    "alone": "",
}
"""What else would leave more room."""


def facts(
    setup: Setup, shape: estimates.ModelShape, *, kept: float, dtype: str, when: When
) -> dict[str, object]:
    """The least GPU (GiB) for each evaluator that opens a vLLM of its own then.

    `kept`: what the process keeps of a GPU meanwhile (bytes). `dtype`: what vLLM computes in.
    Raises LabError where the GPU that is here, or asked for, is smaller.
    """
    found: dict[str, object] = {}
    for name, one in setup.evaluators.items():
        if not isinstance(one, OpensEngine) or (when == "start" and not one.opens_at_start):
            continue
        opened = one.engine_settings
        if opened is not None:
            found |= beside(
                f"evaluation {name}{' at the start' if when == 'start' else ''}",
                opened,
                shape,
                setup,
                kept=kept,
                dtype=dtype,
                length=one.longest_planned,
                section=f"evaluator.{one.section}",
                instead=INSTEAD[when],
            )
    return found


def check_shared(setup: Setup) -> None:
    """LabError for an evaluator whose settings a training's vLLM, which it shares, would refuse."""
    for one in setup.evaluators.values():
        opened = one.engine_settings if isinstance(one, OpensEngine) else None
        if opened is not None and opened.engine in (AUTO, VLLM.name):
            check_temperature(opened.temperature, key=f"evaluator.{one.section}.temperature")


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
    instead: str = "",
) -> dict[str, object]:
    """The least GPU (GiB) for sampling with a vLLM of its own; nothing with another engine.

    `kept`: what else stays on the GPU (bytes); `length`: the longest sequence (tokens); `section`:
    where the settings stand, empty where they cannot be set; `instead`: what a refusal names
    besides them. Raises LabError where the GPU that is here, or asked for, is smaller.
    """
    engine = best_for(setup.num_gpus) if sampling.engine == AUTO else sampling.engine
    if engine != VLLM.name:
        return {}
    check_temperature(sampling.temperature, key=f"{section or 'trainer'}.temperature")
    share = sampling.vllm_gpu_memory_utilization
    parts = estimates.vllm_bytes(
        shape,
        length=min(length, shape.context_length or length),
        dtype=dtype,
    )
    needs = sum(parts.values())
    around = kept / (1 - share) if share < 1 else float("inf")
    _check(work, share, known_gpu(setup), kept=kept, needs=needs, section=section, instead=instead)
    return {
        f"gpu_memory_gib, {work}": (
            f"{max(around, needs / share) / GIB:.3g} (the process keeps {kept / GIB:.3g}; vLLM "
            f"takes a share of {share:g} and needs {needs / GIB:.3g})"
        )
    }


def _check(
    work: str,
    share: float,
    gpu: KnownGPU | None,
    *,
    kept: float,
    needs: float,
    section: str,
    instead: str,
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
    raise LabError(
        f"{key if section else f'trainer.sampler=vllm: the vLLM for {work}'} takes "
        f"{share * whole / GIB:.3g} of {gpu.gib} and needs "
        f"{needs / GIB:.3g}, beside {kept / GIB:.3g} that the process keeps; {advice}take "
        f"{other}{instead}"
    )

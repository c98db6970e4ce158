"""The GPU that a GRPO run needs: its training, the vLLM in its processes, and its evaluations."""

from labrun.plan import Setup

from lab_llm.planning import evaluations
from lab_llm.planning import vllm as vllm_plan
from lab_llm.planning.estimates import ModelShape
from lab_llm.planning.gpus import check_kept, known_gpu
from lab_llm.planning.process_memory import (
    PLANNED_PROCESSES,
    gathered_facts,
    memory_fact,
    shown,
    whole_weights,
)
from lab_llm.planning.sizes import TeacherSize, gpu_parts, kept_bytes, memory, model_shape
from lab_llm.policy.policy import KnownPolicy
from lab_llm.problems import ProblemSets
from lab_llm.training.config import GRPOSettings
from lab_llm.training.engines import ENGINES
from lab_llm.training.zero import zero_stage


def facts(
    setup: Setup,
    settings: GRPOSettings,
    teacher: TeacherSize,
    *,
    policy: KnownPolicy | None,
    sets: ProblemSets | None,
) -> dict[str, object]:
    """The least GPU (GiB) for each planned number of processes, and what vLLM and evaluations take.

    Of a run that only evaluates the evaluations alone.

    Raises LabError where the GPU that is here, or asked for, holds less.
    """
    needs = vllm_plan.needs(settings, setup, policy, sets)
    shape = model_shape(settings)
    if shape is None:
        return {}
    least = 0.0 if needs is None else needs.total

    def parts(num_processes: int) -> dict[str, float]:
        ours = memory(settings, shape, num_processes, teacher)
        return gpu_parts(settings, ours, vllm_needs=least)

    found: dict[str, object] = {}
    if settings.max_steps:
        advice = f"take {_smaller(settings)}larger ones, or a smaller model"
        check_kept(parts(setup.num_processes), known_gpu(setup), advice=advice)
        found |= gathered_facts(settings, shape)
        found |= {memory_fact(n): shown(parts(n)) for n in PLANNED_PROCESSES}
    found |= {} if needs is None else needs.facts()
    return found | _evaluations(setup, settings, shape, teacher)


def _evaluations(
    setup: Setup, settings: GRPOSettings, shape: ModelShape, teacher: TeacherSize
) -> dict[str, object]:
    """What evaluations take. Those between and after the steps share a vLLM of the training; the
    one at the start runs before there is one."""
    trains = settings.max_steps > 0
    shares = trains and ENGINES[settings.sampler].gpu_share(settings) > 0
    if shares:
        evaluations.check_shared(setup)
    if shares and not settings.evaluate_start:
        return {}
    kept = kept_bytes(settings, shape, setup, teacher=teacher)
    return evaluations.facts(
        setup,
        shape,
        kept=whole_weights(settings, shape) if shares else kept,
        dtype=settings.model.dtype,
        when="start" if shares else "training" if trains else "alone",
    )


def _smaller(settings: GRPOSettings) -> str:
    """What else would make each GPU's part smaller."""
    zero3 = zero_stage(settings) == 3
    return "more GPUs, " if zero3 else "trainer.deepspeed=zero3 with several GPUs, "

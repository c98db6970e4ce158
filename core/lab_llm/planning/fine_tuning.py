"""Memory of supervised fine-tuning, before the run."""

from collections.abc import Mapping

from labrun.plan import Setup

from lab_llm.planning import estimates, evaluations
from lab_llm.planning.gpus import check_kept, known_gpu
from lab_llm.planning.process_memory import (
    gathered_facts,
    kept_in_training,
    memory_fact,
    process_parts,
    shown,
    whole_weights,
)
from lab_llm.planning.shapes import shape_of_model
from lab_llm.sampling.config import SamplingConfig
from lab_llm.training.config import TrainedWeights


def facts(
    settings: TrainedWeights,
    setup: Setup,
    *,
    micro_batch_sizes: Mapping[int, int],
    max_completion_length: int,
    max_steps: int,
    evaluate_every: int,
    samples_by: SamplingConfig | None,
) -> dict[str, object]:
    """What one GPU holds (GiB) while it trains; before, while it samples; and while it evaluates.

    `micro_batch_sizes` of the numbers of processes that are planned, the run's own among them.
    `samples_by`: what opens an engine for the responses; None: nothing is sampled. Prompts are not
    counted: they are short beside a response. Nothing is known of a model that is neither here nor
    a published one.

    Raises LabError where the GPU that is here, or asked for, cannot hold what stays in it.
    """
    shape = shape_of_model(settings.model)
    if shape is None:
        return {}
    parts = {
        n: process_parts(settings, shape, tokens=size * max_completion_length, num_processes=n)
        for n, size in micro_batch_sizes.items()
    }
    trains, ours = max_steps > 0, parts[setup.num_processes]
    dtype = settings.model.dtype
    whole = whole_weights(settings, shape, trains=trains)
    found: dict[str, object] = {"parameters": shape.num_parameters}
    if trains:
        check_memory(ours, setup)
        found |= {memory_fact(n): shown(of) for n, of in parts.items()}
        found |= gathered_facts(settings, shape)
    if trains and samples_by is not None:
        found |= evaluations.beside(
            "sampling",
            samples_by,
            shape,
            setup,
            kept=whole,
            dtype=dtype,
            length=max_completion_length,
        )
    kept = kept_in_training(settings, shape, ours) if trains and evaluate_every else whole
    return found | evaluations.facts(setup, shape, kept=kept, dtype=dtype, when="alone")


def check_memory(parts: Mapping[str, float], setup: Setup) -> None:
    """LabError where the run's GPU cannot hold weights, gradients and optimizer."""
    least = sum(parts.values()) / estimates.GIB
    gpu = known_gpu(setup)
    check_kept(parts, gpu, advice=f"take one of {least:.3g} GiB or more, or a smaller model")

"""What a colocated vLLM needs of a GPU, and whether its share is enough."""

from collections.abc import Mapping
from dataclasses import dataclass

from labrun.errors import LabError
from labrun.plan import Setup

from lab_llm.evaluation.accuracy import AccuracyEvaluator
from lab_llm.planning import estimates
from lab_llm.planning.estimates import GIB
from lab_llm.planning.gpus import KnownGPU, known_gpu
from lab_llm.planning.sizes import model_shape
from lab_llm.policy.policy import KnownPolicy
from lab_llm.problems import ProblemSets
from lab_llm.training.config import GRPOSettings
from lab_llm.training.engines import ENGINES
from lab_llm.training.vllm_length import longest_sequence

MOST_ROLLOUTS = 4096
"""TRL gives its engine so many tokens a pass, and vLLM wants one at least for each sequence."""


@dataclass(frozen=True)
class Needs:
    """The least that a colocated vLLM needs of each GPU."""

    share: float
    """Of the GPU's memory that it takes (fraction)."""
    length: int
    """Its longest sequence (tokens)."""
    parts: Mapping[str, float]
    """What takes memory -> bytes of it: `weights`, `work` and one `sequence`."""
    gpu: KnownGPU | None
    """The GPU that the run gets, where that is known."""

    @property
    def total(self) -> float:
        """All of that (bytes)."""
        return sum(self.parts.values())

    @property
    def named(self) -> str:
        """The parts (GiB), one after another."""
        return ", ".join(f"{name} {size / GIB:.3g}" for name, size in self.parts.items())

    def facts(self) -> dict[str, object]:
        """For the dry run."""
        least = f"{self.total / GIB:.3g} ({self.named})"
        found: dict[str, object] = {
            "vllm_max_model_length": self.length,
            "vllm_needs_gib": f"{least}, the least that a share of {self.share:g} must hold",
        }
        if self.gpu is None:
            return found
        held = f"{self.num_sequences(self.gpu.memory)} of the longest at once"
        return found | {"vllm_sequences": f"{held}, in a share of {self.share:g} of {self.gpu.gib}"}

    def num_sequences(self, gpu_bytes: float) -> int:
        """Longest sequences that the share of a GPU holds at once (count)."""
        room = self.share * gpu_bytes - self.total + self.parts["sequence"]
        return int(room // self.parts["sequence"])


def needs(
    settings: GRPOSettings, setup: Setup, policy: KnownPolicy | None, sets: ProblemSets | None
) -> Needs | None:
    """What vLLM needs in the training process; None where it is not there, nothing is trained, or
    the model is not known.

    Raises LabError where `vllm_max_model_length` is too short for the run, its processes or the
    model's heads do not part by `vllm_tensor_parallel_size`, or the share of the GPU that is here,
    or asked for, is too small for the model and one sequence.
    """
    share, shape = ENGINES[settings.sampler].gpu_share(settings), model_shape(settings)
    if not share or settings.max_steps == 0:
        return None
    _check_parallel(settings, shape, num_processes=setup.num_processes)
    if shape is None:
        return None
    _check_sequences(settings, num_processes=setup.num_processes)
    length = _length(settings, setup, policy, sets, limit=shape.context_length)
    parts = estimates.vllm_bytes(
        shape,
        length=length,
        dtype=settings.model.dtype,
        tensor_parallel=settings.vllm_tensor_parallel_size,
    )
    found = Needs(share, length, parts, known_gpu(setup))
    _check_share(found)
    return found


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


def _check_sequences(settings: GRPOSettings, *, num_processes: int) -> None:
    """LabError where a vLLM would have more rollouts at once than TRL lets it compute tokens."""
    rollouts = settings.prompts_per_step * settings.num_generations
    of_engine = rollouts // num_processes * settings.vllm_tensor_parallel_size
    if of_engine > MOST_ROLLOUTS:
        raise LabError(
            f"trainer.sampler=vllm: {of_engine} rollouts a batch in each vLLM, and TRL's engine "
            f"takes at most {MOST_ROLLOUTS}; lower trainer.prompts_per_step, or take more GPUs"
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


def _check_share(needs: Needs) -> None:
    """LabError where the share of the GPU holds less than the model and one sequence."""
    gpu = needs.gpu
    if gpu is None or needs.share * gpu.memory >= needs.total:
        return
    fits = needs.total < 0.95 * gpu.memory
    advice = f"set it to {needs.total / gpu.memory + 0.005:.2f}" if fits else gpu.larger
    raise LabError(
        f"trainer.vllm_gpu_memory_utilization={needs.share:g} of {gpu.gib} is "
        f"{needs.share * gpu.memory / GIB:.3g}; vLLM needs {needs.total / GIB:.3g} ({needs.named}) "
        f"for one sequence of {needs.length} tokens; {advice}, or lower "
        "trainer.max_completion_length"
    )

"""The least time of a training: what arithmetic and memory traffic alone take of its GPUs.

A pass over tokens takes at least its operations over the GPU's peak rate, and at least its bytes
over the memory's (roofline: Williams, Waterman, Patterson, CACM 52(4), 2009). Training is bound by
the first, sampling a token at a time by the second.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from labrun.plan import Setup

from lab_llm.planning.estimates import BYTES, ModelShape, cached_token_bytes
from lab_llm.planning.shapes import shape_of_model
from lab_llm.training.config import GRPOSettings, TrainedWeights
from lab_llm.training.engines import ENGINES

HOUR = 3600.0
SHORTEST = 0.1
"""Hours that are worth a line."""


@dataclass(frozen=True)
class GPU:
    """What one kind of GPU does at best, by its maker's data sheet, without sparsity."""

    name: str
    flops: dict[str, float]
    """Precision of the products -> operations a second."""
    bandwidth: float
    """Bytes of its memory a second."""


H100 = GPU("H100", {"bfloat16": 989e12, "float32": 67e12}, 3.35e12)
GPUS = (
    GPU("A100", {"bfloat16": 312e12, "float32": 19.5e12}, 2.04e12),
    H100,
    GPU("H200", {"bfloat16": 989e12, "float32": 67e12}, 4.8e12),
    GPU("B200", {"bfloat16": 2250e12, "float32": 80e12}, 8.0e12),
)


def facts(setup: Setup, settings: GRPOSettings, shape: ModelShape | None) -> dict[str, object]:
    """The least hours of a GRPO run, for the dry run; nothing of a short one, or of a GPU or model
    that is not known."""
    gpu = gpu_of_run(setup)
    if shape is None or gpu is None:
        return {}
    seconds = least_seconds(settings, shape, gpu, num_processes=setup.num_processes)
    return shown(seconds, gpu, num_processes=setup.num_processes)


def fine_tuning_facts(
    setup: Setup,
    settings: TrainedWeights,
    *,
    num_sampled: int,
    num_trained: int,
    max_completion_length: int,
) -> dict[str, object]:
    """The same of supervised fine-tuning: `num_sampled` responses, `num_trained` of them in all
    steps together."""
    gpu, shape = gpu_of_run(setup), shape_of_model(settings.model)
    if shape is None or gpu is None:
        return {}
    n, length = setup.num_processes, max_completion_length
    sampled = sampling_seconds(
        shape, gpu, rollouts=num_sampled / n, batches=1, length=length, dtype=settings.model.dtype
    )
    trained = training_seconds(settings, shape, gpu, rollouts=num_trained / n, length=length)
    seconds = {"sampling": sampled} if num_sampled else {}
    return shown(seconds | {"training": trained}, gpu, num_processes=n)


def shown(seconds: Mapping[str, float], gpu: GPU, *, num_processes: int) -> dict[str, object]:
    """The fact that says so many seconds of each stage."""
    hours = sum(seconds.values()) / HOUR
    if hours < SHORTEST:
        return {}
    named = ", ".join(f"{stage} {of / HOUR:.3g}" for stage, of in seconds.items())
    limit = "every completion at its limit; other work adds to it"
    return {"hours_at_least": f"{hours:.3g} on {num_processes} {gpu.name} ({named}), {limit}"}


def gpu_of_run(setup: Setup) -> GPU | None:
    """The kind that is here; an H100 where none is here and the run asks for some."""
    import torch

    if setup.num_gpus == 0:
        return None
    if not torch.cuda.is_available():
        return H100
    here = torch.cuda.get_device_name()
    return next((gpu for gpu in GPUS if gpu.name in here), None)


def least_seconds(
    settings: GRPOSettings, shape: ModelShape, gpu: GPU, *, num_processes: int
) -> dict[str, float]:
    """Stage -> least seconds of a whole GRPO run, every completion of `max_completion_length`
    tokens.

    Not counted, so that it is the least: prompts, passes that score, evaluations, the optimizer,
    and what GPUs send to each other; nor the sampling of a server, which has GPUs of its own.
    """
    batches = settings.max_steps // settings.num_minibatches
    rollouts = batches * settings.prompts_per_step * settings.num_generations / num_processes
    length = settings.max_completion_length
    parts = {"training": training_seconds(settings, shape, gpu, rollouts=rollouts, length=length)}
    engine = ENGINES[settings.sampler]
    if engine.uses_vllm() and not engine.gpu_share(settings):
        return parts
    sampled = sampling_seconds(
        shape,
        gpu,
        rollouts=rollouts,
        batches=batches,
        length=length,
        dtype=settings.model.dtype,
        tensor_parallel=settings.vllm_tensor_parallel_size,
    )
    return {"sampling": sampled, **parts}


def training_seconds(
    settings: TrainedWeights, shape: ModelShape, gpu: GPU, *, rollouts: float, length: int
) -> float:
    """A forward pass and a backward pass of twice its operations; with checkpointing one more
    forward pass. `rollouts` is one GPU's share."""
    passes = 4 if settings.gradient_checkpointing else 3
    return passes * rollouts * forward_flops(shape, length) / gpu.flops[settings.model.dtype]


def sampling_seconds(
    shape: ModelShape,
    gpu: GPU,
    *,
    rollouts: float,
    batches: int,
    length: int,
    dtype: str,
    tensor_parallel: int = 1,
) -> float:
    """The longer of a forward pass's operations and of what is read, all rows of a batch at once.

    `rollouts` is one GPU's share of them, in all batches.
    """
    cached = rollouts * cached_bytes_read(shape, length, dtype=dtype)
    weights = batches * length * weight_bytes_read(shape, dtype=dtype) / tensor_parallel
    flops = rollouts * forward_flops(shape, length)
    return max(flops / gpu.flops[dtype], (cached + weights) / gpu.bandwidth)


def forward_flops(shape: ModelShape, length: int) -> float:
    """Operations of a causal forward pass over one sequence: 2 M T + 2 L q T^2.

    M weights multiply each of T tokens (those of the layers and the head). A token at position t
    meets t keys and t values: 4 q t in each of L layers.
    """
    attention = 2 * shape.num_layers * shape.num_heads * shape.head_dim * length**2
    return 2.0 * _multiplied(shape) * length + attention


def weight_bytes_read(shape: ModelShape, *, dtype: str) -> float:
    """What sampling the next token of all rows reads of the weights at least: each one once."""
    return float(BYTES[dtype] * _multiplied(shape))


def cached_bytes_read(shape: ModelShape, length: int, *, dtype: str) -> float:
    """What sampling one completion reads of its own keys and values: T^2 / 2 tokens of them."""
    return cached_token_bytes(shape, dtype=dtype) * length**2 / 2


def _multiplied(shape: ModelShape) -> int:
    """Weights that every token is multiplied by: L h (2 q + 2 kv + 3 i) + h V."""
    s = shape
    q, kv = s.num_heads * s.head_dim, s.num_kv_heads * s.head_dim
    layers = s.num_layers * (2 * q + 2 * kv + 3 * s.intermediate_size)
    return s.hidden_size * (layers + s.vocab_size)

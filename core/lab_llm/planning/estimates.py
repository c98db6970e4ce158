"""Estimates of memory, work and disk before a run: pure functions of shapes and settings."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Literal

GIB = 2**30
BYTES = {"float32": 4, "bfloat16": 2}


@dataclass(frozen=True)
class ModelShape:
    """Sizes of a dense decoder with grouped-query attention and a gated MLP."""

    num_layers: int
    hidden_size: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    intermediate_size: int
    vocab_size: int
    num_parameters: int
    """Weights of the whole model (count); one that two layers share counts once."""
    context_length: int
    """max_position_embeddings (tokens)."""
    qk_norm: Literal["none", "head", "all"] = "head"
    """Whether queries and keys are normed: not, each head alone with one weight for all (Qwen3), or
    all heads together (Olmo 2 and 3)."""


@dataclass(frozen=True)
class State:
    """Bytes of one process that stay through training."""

    weights: float
    gradients: float
    optimizer: float
    copies: float

    @property
    def total(self) -> float:
        return self.weights + self.gradients + self.optimizer + self.copies

    def without(self, offloaded: Collection[str]) -> "State":
        """What is left on the GPU where DeepSpeed offloads the optimizer, or the parameters."""
        state = self
        if "optimizer" in offloaded:  # which updates where it is, and takes the gradients there
            state = replace(state, gradients=0.0, optimizer=0.0)
        return replace(state, weights=0.0, copies=0.0) if "param" in offloaded else state


def state_bytes(
    parameters: int,
    *,
    dtype: str,
    zero_stage: int,
    num_processes: int,
    num_copies: float = 0.0,
    autocast: bool = False,
) -> State:
    """What weights, gradients, AdamW and frozen copies of the model hold in each process.

    With P parameters of b bytes: weights b P, gradients b P, AdamW's two moments 2 b P. `autocast`
    keeps a bfloat16 copy of float32 weights, 2 P, from the forward to the backward pass. DeepSpeed
    with bfloat16 keeps float32 masters beside float32 moments: 12 P (ZeRO, arXiv 1910.02054,
    section 3.1), and adds gradients up in float32: 4 P (`grad_accum_dtype`). ZeRO-1 divides the
    optimizer's part by the number of processes, ZeRO-2 the gradients as well, ZeRO-3 the weights
    too. A copy (the reference of beta > 0, a frozen or averaged teacher, what an average's own
    precision cannot hold) has b P, divided under ZeRO-3.
    """
    size = float(BYTES[dtype] * parameters)
    masters = zero_stage > 0 and dtype == "bfloat16"
    moments = 12.0 * parameters if masters else 2 * size
    gradients = 4.0 * parameters if masters else size
    cast = 2.0 * parameters if autocast else 0.0
    share = {stage: num_processes if zero_stage >= stage else 1 for stage in (1, 2, 3)}
    return State(
        weights=size / share[3] + cast,
        gradients=gradients / share[2],
        optimizer=moments / share[1],
        copies=num_copies * size / share[3],
    )


def layer_bytes(shape: ModelShape, *, dtype: str, autocast: bool = False) -> int:
    """Bytes that the backward pass needs of one token in one layer.

    A norm keeps its input, the normed input and its output: 6 h for both. Norms of queries and keys
    keep the first two: 2 (q + kv). Attention keeps queries, keys and values, these two repeated for
    every query head, and its output: 4 q; it keeps no scores (it is computed in blocks,
    arXiv 2205.14135). The MLP keeps 4 i (gate, activation, up, product). In bfloat16 the input of a
    norm stays in float32. With `autocast` the normed input does too, and each of the five
    projections after a norm keeps a bfloat16 copy of the output.
    """
    s = shape
    q, kv = s.num_heads * s.head_dim, s.num_kv_heads * s.head_dim
    normed = q + kv if s.qk_norm != "none" else 0
    products = 4 * q + 4 * s.intermediate_size
    if dtype == "float32":
        return 4 * (6 * s.hidden_size + 2 * normed + products)
    return (26 if autocast else 16) * s.hidden_size + 6 * normed + 2 * products


def activation_bytes(
    shape: ModelShape, *, tokens: int, dtype: str, checkpointing: bool, autocast: bool = False
) -> int:
    """Bytes that the backward pass needs of a micro-batch of `tokens` tokens, without the head.

    With checkpointing each layer keeps its input h, and one layer at a time is computed anew (arXiv
    1604.06174). With `autocast` that input is in float32.
    """
    of_layer = layer_bytes(shape, dtype=dtype, autocast=autocast)
    if not checkpointing:
        return tokens * shape.num_layers * of_layer
    size = BYTES["float32"] if autocast else BYTES[dtype]
    return tokens * (shape.num_layers * shape.hidden_size * size + of_layer)


HEAD_TOKENS, HEAD_VOCABULARY = 4096, 32768
"""Tokens and vocabulary entries of the logits that are in memory at once (TRL 1.16)."""


def head_bytes(shape: ModelShape, *, tokens: int) -> int:
    """What the output projection takes: a tile of logits, and its weights' gradient in float32.

    4 min(tokens, 4096) min(V, 32768) + 4 h V: the logits are never in memory as a whole.
    """
    tile = min(tokens, HEAD_TOKENS) * min(shape.vocab_size, HEAD_VOCABULARY)
    return BYTES["float32"] * (tile + shape.hidden_size * shape.vocab_size)


def distillation_bytes(
    shape: ModelShape,
    *,
    tokens: int,
    chunk_size: int,
    top_k: int,
    alpha: float,
    is_mixture: bool = False,
    autocast: bool = False,
) -> int:
    """What a loss over whole distributions takes: 4 n min(tokens, chunk) V + 4 h V.

    n counts float32 tensors as large as a chunk's logits, at the backward pass of
    `compare_hidden`: 4 where the student's top_k tokens are compared, one more where a surrogate
    reads their log-probabilities too; over the whole vocabulary 7 for KL(teacher || student), 8 for
    KL(student || teacher) and 14 for Jensen-Shannon's divergence. 4 h V is the gradient of the
    output projection; `autocast` adds its copies in bfloat16, 2 h V.
    """
    tensors = {0.0: 7, 1.0: 8}.get(alpha, 14)
    if 0 < top_k < shape.vocab_size:
        tensors = 4 + int(is_mixture)
    projection = (6 if autocast else 4) * shape.hidden_size
    return (4 * tensors * min(tokens, chunk_size) + projection) * shape.vocab_size


def cached_token_bytes(shape: ModelShape, *, dtype: str, tensor_parallel: int = 1) -> int:
    """Keys and values of one token, 2 L kv b.

    `tensor_parallel` GPUs divide the heads of keys as far as there are any.
    """
    heads = -(-shape.num_kv_heads // tensor_parallel)
    return 2 * shape.num_layers * heads * shape.head_dim * BYTES[dtype]


def sampling_bytes(
    shape: ModelShape, *, rows: int, length: int, dtype: str, fuses_weights: bool
) -> int:
    """What sampling `rows` completions at once takes beside the weights, without a vLLM.

    Keys and values of `length` tokens a row; the logits of the last tokens with three tensors of
    their size in float32, V (b + 12), one less where the logits are float32 themselves.
    `fuses_weights`: the toolkit's decoder copies the projections before attention and those of the
    MLP but the last, L h (q + 2 kv + 2 i) b.
    """
    s, size = shape, BYTES[dtype]
    logits = s.vocab_size * (size + (8 if dtype == "float32" else 12))
    fused = s.num_heads * s.head_dim + 2 * s.num_kv_heads * s.head_dim + 2 * s.intermediate_size
    copied = s.num_layers * s.hidden_size * fused * size if fuses_weights else 0
    return rows * (length * cached_token_bytes(shape, dtype=dtype) + logits) + copied


VLLM_WORK = 1.0 * GIB
"""Memory for vLLM's own passes and CUDA graphs: our choice, not measured."""


def vllm_bytes(
    shape: ModelShape, *, length: int, dtype: str, tensor_parallel: int = 1
) -> dict[str, float]:
    """The least that vLLM needs of each GPU: weights b P, and keys and values of one sequence of
    `length` tokens, 2 L kv b each token.

    `tensor_parallel` GPUs divide the weights, and the heads of keys as far as there are any.
    """
    token = cached_token_bytes(shape, dtype=dtype, tensor_parallel=tensor_parallel)
    weights = BYTES[dtype] * shape.num_parameters / tensor_parallel
    return {"weights": weights, "sequence": float(length * token), "work": VLLM_WORK}


def gpu_bytes(
    process_bytes: float,
    *,
    vllm_share: float,
    vllm_needs: float = 0.0,
    sleeps_beside: float | None = None,
) -> float:
    """The least memory of a GPU that holds a training process beside vLLM's share of it.

    vLLM takes the share (fraction) of the whole GPU and needs so many bytes of it:
    max(process / (1 - share), needs / share). `sleeps_beside`: what the process keeps (bytes) while
    vLLM samples, which leaves the GPU afterwards:
    max(process + work, kept / (1 - share), needs / share).
    """
    least = vllm_needs / vllm_share if vllm_share else 0.0
    if sleeps_beside is None:
        return max(process_bytes / (1.0 - vllm_share), least)
    return max(process_bytes + VLLM_WORK, sleeps_beside / (1.0 - vllm_share), least)


def checkpoint_bytes(parameters: int, *, dtype: str, deepspeed: bool) -> int:
    """A checkpoint on disk: the weights, and AdamW's state as `state_bytes` has it, undivided."""
    state = state_bytes(parameters, dtype=dtype, zero_stage=int(deepspeed), num_processes=1)
    return int(state.weights + state.optimizer)


@dataclass(frozen=True)
class Work:
    """What a run makes; tokens are upper bounds, as if no completion ended early."""

    batches: int
    """Batches of rollouts; each gives num_minibatches optimizer steps."""
    rollouts_per_batch: int
    rollouts: int
    tokens_per_batch: int
    tokens: int


def work(
    *,
    max_steps: int,
    num_minibatches: int,
    prompts_per_step: int,
    num_generations: int,
    max_completion_length: int,
) -> Work:
    """Rollouts and completion tokens of a run: prompts x G a batch, T tokens each at most."""
    batches = max_steps // num_minibatches
    rollouts = prompts_per_step * num_generations
    tokens = rollouts * max_completion_length
    return Work(batches, rollouts, batches * rollouts, tokens, batches * tokens)

"""A decode loop for small models on the CPU: no work per token beyond the model's own.

It differs from transformers' `generate` in what costs time there: one preallocated cache, fused
projections, rows that leave the batch at the step they finish, one prefill for all samples of a
prompt, and one random number per token. Greedy output is the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from labrun.errors import LabError
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from transformers import PreTrainedModel

ARCHITECTURES = ("llama", "qwen3")
ROPE_TYPES = ("default", "linear", "llama3", "yarn")
"""Rotary embeddings whose frequencies do not depend on the length of the sequence."""
LARGEST_UNIFORM = 1 - 2**-22
"""Keeps a uniform number times the sum of the probabilities below that sum in float32."""


@dataclass(frozen=True)
class Rollouts:
    """Completions, row `i * num_samples + j` being sample j of prompt i.

    `completion_ids` end with the end token where `finished`, else at max_new_tokens. `logprobs`
    (nats) belong to those tokens: log-softmax of logits / temperature over the whole vocabulary,
    before top_k and top_p; at temperature 0 that of the logits.
    """

    completion_ids: list[list[int]]
    logprobs: list[list[float]]
    finished: list[bool]

    @property
    def num_tokens(self) -> int:
        """Sampled tokens, end tokens among them (count)."""
        return sum(map(len, self.completion_ids))


@torch.inference_mode()
def sample(
    model: "PreTrainedModel",
    prompts: Sequence[Sequence[int]],
    *,
    num_samples: int = 1,
    max_new_tokens: int,
    temperature: float = 1.0,
    top_p: float = 1.0,
    top_k: int = 0,
    eos_token_ids: Sequence[int],
    pad_token_id: int,
    generator: torch.Generator | None = None,
) -> Rollouts:
    """`num_samples` completions of every prompt (token ids), in the order of the prompts.

    `temperature` 0 is greedy; `top_k` 0 and `top_p` 1 keep the whole vocabulary. Randomness comes
    from `generator` alone, which may be None when greedy: equal generators give equal completions,
    and a row's random numbers do not depend on when other rows end. Weights are read anew at each
    call. Raises LabError for an architecture outside ARCHITECTURES, for settings that it lacks
    (sliding windows, biases), and for sequences longer than the model's positions.
    """
    picker = Picker(temperature, top_p, top_k)
    decoder = Decoder(model)
    longest = max(map(len, prompts), default=0)
    _check(prompts, num_samples, longest + max_new_tokens, temperature, generator, model)
    device, num_rows = model.device, len(prompts) * num_samples
    uniforms = torch.zeros(max_new_tokens, num_rows, device=device)
    if temperature > 0:
        uniforms.uniform_(generator=generator).clamp_(max=LARGEST_UNIFORM)
    ids = torch.full((len(prompts), longest), pad_token_id, device=device)
    is_real = torch.zeros(ids.shape, dtype=torch.bool, device=device)
    for row, prompt in enumerate(prompts):
        ids[row, longest - len(prompt) :] = torch.tensor(prompt, device=device)
        is_real[row, longest - len(prompt) :] = True

    tokens = torch.full((num_rows, max_new_tokens), pad_token_id, device=device)
    logprobs = torch.zeros(num_rows, max_new_tokens, device=device)
    ends = torch.tensor(eos_token_ids, dtype=torch.long, device=device)
    rows = torch.arange(num_rows, device=device)
    finished, lengths = torch.zeros_like(rows, dtype=torch.bool), torch.zeros_like(rows)
    cache = Cache(decoder, is_real, num_samples, max_new_tokens)
    logits = decoder.prefill(ids, is_real, cache)
    for step in range(max_new_tokens):
        token, logprob = picker(logits, uniforms[step, rows])
        tokens[rows, step], logprobs[rows, step], lengths[rows] = token, logprob, step + 1
        ended = torch.isin(token, ends)
        if ended.any():
            finished[rows[ended]] = True
            rows, token = cache.drop(ended, rows, token)
        if step == max_new_tokens - 1 or not len(rows):
            break
        logits = decoder.decode(token, cache)
    return _as_lists(tokens, logprobs, lengths, finished)


def _check(
    prompts: Sequence[Sequence[int]],
    num_samples: int,
    length: int,
    temperature: float,
    generator: torch.Generator | None,
    model: "PreTrainedModel",
) -> None:
    if not all(prompts) or not prompts or num_samples < 1:
        raise LabError("sampling needs num_samples >= 1 and prompts of at least one token")
    if temperature > 0 and generator is None:
        raise LabError(f"temperature={temperature} needs a generator; 0 is greedy and needs none")
    positions = model.config.max_position_embeddings
    if length > positions:
        raise LabError(
            f"longest prompt + max_new_tokens = {length} tokens; the model takes {positions}"
        )


def _as_lists(tokens: Tensor, logprobs: Tensor, lengths: Tensor, finished: Tensor) -> Rollouts:
    cuts = lengths.tolist()
    return Rollouts(
        completion_ids=[row[:n] for row, n in zip(tokens.tolist(), cuts, strict=True)],
        logprobs=[row[:n] for row, n in zip(logprobs.tolist(), cuts, strict=True)],
        finished=finished.tolist(),
    )


class Picker:
    """Chooses tokens from logits: the inverse of the distribution function at a uniform number."""

    def __init__(self, temperature: float, top_p: float, top_k: int):
        if temperature < 0 or not 0 < top_p <= 1 or top_k < 0:
            raise LabError(
                f"temperature={temperature}, top_p={top_p}, top_k={top_k}; allowed: "
                "temperature >= 0, 0 < top_p <= 1, top_k >= 0"
            )
        self.temperature, self.top_p, self.top_k = temperature, top_p, top_k

    def __call__(self, logits: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens (N,) and their logprobs (N,) for logits (N, V) and numbers in [0, 1) (N,)."""
        logits = logits.float()
        if self.temperature == 0:
            token = logits.argmax(-1)
            return token, logits.log_softmax(-1).gather(1, token[:, None])[:, 0]
        probs = (logits if self.temperature == 1 else logits / self.temperature).softmax(-1)
        cumulative = self._kept(probs).cumsum(-1)
        # The first entry above u * total, so that a token of probability 0 is never chosen.
        threshold = uniform[:, None] * cumulative[:, -1:]
        token = torch.searchsorted(cumulative, threshold, right=True)
        return token[:, 0], probs.gather(1, token)[:, 0].log_()

    def _kept(self, probs: Tensor) -> Tensor:
        """The probabilities with what lies outside the top_k and then the nucleus set to 0."""
        if self.top_k and self.top_k < probs.shape[-1]:
            least = probs.topk(self.top_k).values[:, -1:]
            probs = probs.where(probs >= least, 0.0)
        if self.top_p < 1:
            ordered, order = probs.sort(descending=True)
            mass_before = ordered.cumsum(-1) - ordered
            outside = mass_before >= self.top_p * ordered.sum(-1, keepdim=True)
            probs = torch.zeros_like(probs).scatter_(1, order, ordered.masked_fill(outside, 0.0))
        return probs


class Cache:
    """Keys (layers, N, kv, D, S) and values (layers, N, kv, S, D); the first `num_rows` rows live.

    A row that ends is overwritten by one from the end, so that the living stay contiguous and
    each row is moved at most a few times.
    """

    def __init__(self, decoder: "Decoder", is_real: Tensor, num_samples: int, max_new_tokens: int):
        num_prompts, self.length = is_real.shape
        self.num_rows, self.num_samples = num_prompts * num_samples, num_samples
        size = self.length + max_new_tokens
        like = {"dtype": decoder.embedding.dtype, "device": decoder.embedding.device}
        head = (decoder.num_layers, self.num_rows, decoder.num_kv)
        self.keys = torch.empty(*head, decoder.head_dim, size, **like)
        self.values = torch.empty(*head, size, decoder.head_dim, **like)
        self.bias: Tensor | None = None
        if not is_real.all():
            hidden = torch.zeros(num_prompts, size, **like)
            hidden[:, : self.length].masked_fill_(~is_real, float("-inf"))
            self.bias = hidden.repeat_interleave(num_samples, 0)[:, None, None]
        self.cos, self.sin = decoder.rotary(size)

    def fill(self, layer: int, k: Tensor, v: Tensor) -> None:
        """Keep the prompts' keys and values (P, kv, T, D), one copy for each sample."""
        self.keys[layer, ..., : self.length] = k.transpose(2, 3).repeat_interleave(
            self.num_samples, 0
        )
        self.values[layer, :, :, : self.length] = v.repeat_interleave(self.num_samples, 0)

    def drop(self, ended: Tensor, *per_row: Tensor) -> tuple[Tensor, ...]:
        """Forget the rows that ended; `per_row` (N,) tensors in the new order of rows."""
        alive = ~ended
        self.num_rows = left = int(alive.sum())
        to = ended[:left].nonzero()[:, 0]
        source = alive[left:].nonzero()[:, 0] + left
        used = slice(self.length)
        self.keys[:, to, :, :, used] = self.keys[:, source, :, :, used]
        self.values[:, to, :, used] = self.values[:, source, :, used]
        if self.bias is not None:
            self.bias[to] = self.bias[source]
        for tensor in per_row:
            tensor[to] = tensor[source]
        return tuple(tensor[:left] for tensor in per_row)


@dataclass(frozen=True)
class Layer:
    """Weights of one block: q, k and v as one projection, gate and up as another.

    `head_norm` (heads + kv, D) is Qwen3's scale of the normalised queries and keys, None in Llama.
    """

    norm_attention: Tensor
    qkv: Tensor
    head_norm: Tensor | None
    out: Tensor
    norm_mlp: Tensor
    gate_up: Tensor
    down: Tensor


class Decoder:
    """The forward pass of a Qwen3 or Llama model, with its weights as they are now.

    Positions are counted from the start of the left-padded batch: rotary attention sees only
    their differences.
    """

    def __init__(self, model: "PreTrainedModel"):
        _check_architecture(model)
        config, inner = _as_any(model.config), _as_any(model.base_model)
        self.num_heads, self.num_kv = config.num_attention_heads, config.num_key_value_heads
        self.head_dim = getattr(config, "head_dim", None) or config.hidden_size // self.num_heads
        self.eps, self.num_layers = config.rms_norm_eps, config.num_hidden_layers
        self.layers = [self._layer(block) for block in inner.layers]
        self.embedding: Tensor = inner.embed_tokens.weight
        self.norm: Tensor = inner.norm.weight
        self.head: Tensor = _as_any(model).lm_head.weight
        self._rotary_embedding = inner.rotary_emb

    def _layer(self, block: Any) -> Layer:
        attention, mlp = block.self_attn, block.mlp
        head_norm = None
        if hasattr(attention, "q_norm"):
            q, k = attention.q_norm.weight, attention.k_norm.weight
            head_norm = torch.cat((q.expand(self.num_heads, -1), k.expand(self.num_kv, -1)))
        projections = attention.q_proj, attention.k_proj, attention.v_proj
        return Layer(
            norm_attention=block.input_layernorm.weight,
            qkv=torch.cat([p.weight for p in projections]),
            head_norm=head_norm,
            out=attention.o_proj.weight,
            norm_mlp=block.post_attention_layernorm.weight,
            gate_up=torch.cat((mlp.gate_proj.weight, mlp.up_proj.weight)),
            down=mlp.down_proj.weight,
        )

    def rotary(self, size: int) -> tuple[Tensor, Tensor]:
        """Cosines and signed sines (size, heads + kv, D); attention's 1/sqrt(D) is in the
        queries' share, and the sign of the half turn in the sines."""
        positions = torch.arange(size, device=self.embedding.device)[None]
        cos, sin = self._rotary_embedding(self.embedding, positions)
        sign = torch.ones(self.head_dim, dtype=cos.dtype, device=cos.device)
        sign[: self.head_dim // 2] = -1
        scale = torch.ones(self.num_heads + self.num_kv, 1, dtype=cos.dtype, device=cos.device)
        scale[: self.num_heads] = self.head_dim**-0.5
        return cos[0][:, None] * scale, (sin[0] * sign)[:, None] * scale

    def prefill(self, ids: Tensor, is_real: Tensor, cache: Cache) -> Tensor:
        """Logits (N, V) after the left-padded prompts (P, T), each row num_samples times."""
        length = ids.shape[1]
        causal = torch.ones(length, length, dtype=torch.bool, device=ids.device).tril()
        itself = torch.eye(length, dtype=torch.bool, device=ids.device)
        mask = (causal & is_real[:, None, None]) | itself
        x = functional.embedding(ids, self.embedding)
        for index, layer in enumerate(self.layers):
            q, k, v = self._qkv(x, layer, cache.cos[:length], cache.sin[:length])
            q, k, v = (heads.transpose(1, 2) for heads in (q, k, v))
            cache.fill(index, k, v)
            mixed = functional.scaled_dot_product_attention(
                q, k, v, mask, scale=1.0, enable_gqa=True
            )
            x = self._finish(x, mixed.transpose(1, 2).flatten(2), layer)
        return self._logits(x[:, -1]).repeat_interleave(cache.num_samples, 0)

    def decode(self, token: Tensor, cache: Cache) -> Tensor:
        """Logits (N, V) after one more token (N,) of each living row."""
        num, place = cache.num_rows, cache.length
        cache.length = length = place + 1
        bias = None if cache.bias is None else cache.bias[:num, ..., :length]
        cos, sin = cache.cos[place], cache.sin[place]
        x = functional.embedding(token, self.embedding)
        for index, layer in enumerate(self.layers):
            q, k, v = self._qkv(x, layer, cos, sin)
            keys, values = cache.keys[index, :num], cache.values[index, :num]
            keys[..., place], values[:, :, place] = k, v
            scores = q.reshape(num, self.num_kv, -1, self.head_dim) @ keys[..., :length]
            if bias is not None:
                scores += bias
            mixed = scores.softmax(-1) @ values[:, :, :length]
            x = self._finish(x, mixed.view(num, -1), layer)
        return self._logits(x)

    def _qkv(self, x: Tensor, layer: Layer, cos: Tensor, sin: Tensor) -> tuple[Tensor, ...]:
        """Rotated queries (..., heads, D) and keys, and values (..., kv, D), of x (..., C)."""
        normed = functional.rms_norm(x, (x.shape[-1],), layer.norm_attention, self.eps)
        heads = functional.linear(normed, layer.qkv).unflatten(-1, (-1, self.head_dim))
        both, v = heads.tensor_split([self.num_heads + self.num_kv], -2)
        if layer.head_norm is not None:
            both = functional.rms_norm(both, (self.head_dim,), None, self.eps) * layer.head_norm
        both = torch.addcmul(both * cos, both.roll(self.head_dim // 2, -1), sin)
        q, k = both.tensor_split([self.num_heads], -2)
        return q, k, v

    def _finish(self, x: Tensor, mixed: Tensor, layer: Layer) -> Tensor:
        """The rest of the block after attention's weighted values (..., heads * D)."""
        x = x + functional.linear(mixed, layer.out)
        normed = functional.rms_norm(x, (x.shape[-1],), layer.norm_mlp, self.eps)
        gate, up = functional.linear(normed, layer.gate_up).chunk(2, -1)
        return x + functional.linear(functional.silu(gate) * up, layer.down)

    def _logits(self, x: Tensor) -> Tensor:
        normed = functional.rms_norm(x, (x.shape[-1],), self.norm, self.eps)
        return functional.linear(normed, self.head)


def _as_any(module: object) -> Any:
    """Without the types of torch modules, which name no submodule."""
    return module


def _check_architecture(model: "PreTrainedModel") -> None:
    config = _as_any(model.config)
    if config.model_type not in ARCHITECTURES:
        raise LabError(
            f"the sampler does not know the architecture {config.model_type!r}; "
            f"supported: {', '.join(ARCHITECTURES)}"
        )
    rope_type = (config.rope_parameters or {}).get("rope_type", "default")
    lacks = {
        f"hidden_act={config.hidden_act!r}": config.hidden_act != "silu",
        "attention_bias": config.attention_bias,
        "mlp_bias": getattr(config, "mlp_bias", False),
        "sliding windows": "sliding_attention" in (getattr(config, "layer_types", None) or ()),
        f"rope_type={rope_type!r}": rope_type not in ROPE_TYPES,
    }
    found = [name for name, present in lacks.items() if present]
    if found:
        raise LabError(f"the sampler does not support {', '.join(found)} of this model")

"""The forward pass of a Qwen3 or Llama model without gradient, in as few operations as it takes.

`sampler` decodes with it token by token; `scorer` scores whole completions.
"""

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
        check_architecture(model.config)
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
            q, k, v = self.qkv(x, layer, cache.cos[:length], cache.sin[:length])
            q, k, v = (heads.transpose(1, 2) for heads in (q, k, v))
            cache.fill(index, k, v)
            mixed = functional.scaled_dot_product_attention(
                q, k, v, mask, scale=1.0, enable_gqa=True
            )
            x = self.finish(x, mixed.transpose(1, 2).flatten(2), layer)
        return self.logits(x[:, -1]).repeat_interleave(cache.num_samples, 0)

    def decode(self, token: Tensor, cache: Cache) -> Tensor:
        """Logits (N, V) after one more token (N,) of each living row."""
        num, place = cache.num_rows, cache.length
        cache.length = length = place + 1
        bias = None if cache.bias is None else cache.bias[:num, ..., :length]
        cos, sin = cache.cos[place], cache.sin[place]
        x = functional.embedding(token, self.embedding)
        for index, layer in enumerate(self.layers):
            q, k, v = self.qkv(x, layer, cos, sin)
            keys, values = cache.keys[index, :num], cache.values[index, :num]
            keys[..., place], values[:, :, place] = k, v
            scores = q.reshape(num, self.num_kv, -1, self.head_dim) @ keys[..., :length]
            if bias is not None:
                scores += bias
            mixed = scores.softmax(-1) @ values[:, :, :length]
            x = self.finish(x, mixed.view(num, -1), layer)
        return self.logits(x)

    def qkv(self, x: Tensor, layer: Layer, cos: Tensor, sin: Tensor) -> tuple[Tensor, ...]:
        """Rotated queries (..., heads, D) and keys, and values (..., kv, D), of x (..., C)."""
        normed = functional.rms_norm(x, (x.shape[-1],), layer.norm_attention, self.eps)
        heads = functional.linear(normed, layer.qkv).unflatten(-1, (-1, self.head_dim))
        both, v = heads.tensor_split([self.num_heads + self.num_kv], -2)
        if layer.head_norm is not None:
            both = functional.rms_norm(both, (self.head_dim,), None, self.eps) * layer.head_norm
        both = torch.addcmul(both * cos, both.roll(self.head_dim // 2, -1), sin)
        q, k = both.tensor_split([self.num_heads], -2)
        return q, k, v

    def finish(self, x: Tensor, mixed: Tensor, layer: Layer) -> Tensor:
        """The rest of the block after attention's weighted values (..., heads * D)."""
        x = x + functional.linear(mixed, layer.out)
        normed = functional.rms_norm(x, (x.shape[-1],), layer.norm_mlp, self.eps)
        gate, up = functional.linear(normed, layer.gate_up).chunk(2, -1)
        return x + functional.linear(functional.silu(gate) * up, layer.down)

    def logits(self, x: Tensor) -> Tensor:
        normed = functional.rms_norm(x, (x.shape[-1],), self.norm, self.eps)
        return functional.linear(normed, self.head)


def _as_any(module: object) -> Any:
    """Without the types of torch modules, which name no submodule."""
    return module


def check_architecture(config: Any) -> None:
    """Raises LabError where the decoder cannot run models of this transformers configuration."""
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

"""Log-probabilities of completions after prompts that several of them share.

A teacher scores many rollouts after few contexts: each context is run through the model once, and
its completions attend to its keys and values.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from lab_llm.policy.beats import no_beat
from lab_llm.policy.engine import Beat
from lab_llm.sampling.decoder import Decoder

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Ids = Sequence[Sequence[int]]


@torch.no_grad()
def completion_logprobs(
    model: "PreTrainedModel",
    prompts: Ids,
    completions: Ids,
    *,
    width: int,
    batch_size: int,
    pad_token_id: int,
    temperature: float = 1.0,
    beat: Beat = no_beat,
) -> Float[Tensor, "n width"]:
    """log P(completion token | prompt, tokens before), float32 (n, width), 0 beyond the end.

    Row i scores `completions[i]` after `prompts[i]`; logits are divided by `temperature`. Rows go
    through the model in batches of `batch_size`, of like length, with a `beat` before each. Raises
    LabError for an architecture that the decoder does not know.
    """
    result = torch.zeros(len(prompts), width, device=model.device)
    if not prompts:
        return result
    decoder = Decoder(model)
    shared = list(dict.fromkeys(tuple(prompt) for prompt in prompts))
    number = {prompt: i for i, prompt in enumerate(shared)}
    contexts = _read(decoder, shared, batch_size, pad_token_id)
    order = sorted(range(len(prompts)), key=lambda i: len(completions[i]))
    for start in range(0, len(order), batch_size):
        beat()
        rows = order[start : start + batch_size]
        tokens, is_real = _padded([completions[i] for i in rows], pad_token_id, left=False)
        tokens, is_real = tokens.to(model.device), is_real.to(model.device)
        owner = torch.tensor([number[tuple(prompts[i])] for i in rows], device=model.device)
        logits = _continue(decoder, contexts, owner, tokens).float() / temperature
        found = logits.log_softmax(-1).gather(2, tokens[..., None])[..., 0]
        result[rows, : tokens.shape[1]] = found.masked_fill(~is_real, 0.0)
    return result


@dataclass(frozen=True)
class Contexts:
    """P prompts, padded left to S tokens, as the model has read them.

    `keys` and `values` of each layer (P, kv, S, D), the last hidden state (P, C), and which tokens
    are real (P, S).
    """

    keys: Sequence[Float[Tensor, "P kv S D"]]
    values: Sequence[Float[Tensor, "P kv S D"]]
    last: Float[Tensor, "P C"]
    is_real: Bool[Tensor, "P S"]


def _read(decoder: Decoder, prompts: Ids, batch_size: int, pad_token_id: int) -> Contexts:
    """Every prompt through the model, once."""
    ids, is_real = (
        t.to(decoder.embedding.device) for t in _padded(prompts, pad_token_id, left=True)
    )
    size = ids.shape[1]
    cos, sin = decoder.rotary(size)
    causal = torch.ones(size, size, dtype=torch.bool, device=ids.device).tril()
    itself = torch.eye(size, dtype=torch.bool, device=ids.device)  # no row of a softmax is empty
    keys: list[list[Tensor]] = [[] for _ in decoder.layers]
    values: list[list[Tensor]] = [[] for _ in decoder.layers]
    last = []
    for part, real in zip(ids.split(batch_size), is_real.split(batch_size), strict=True):
        mask = (causal & real[:, None, None]) | itself
        x = functional.embedding(part, decoder.embedding)
        for index, layer in enumerate(decoder.layers):
            q, k, v = (heads.transpose(1, 2) for heads in decoder.qkv(x, layer, cos, sin))
            keys[index].append(k)
            values[index].append(v)
            x = decoder.finish(x, _attend(q, k, v, mask), layer)
        last.append(x[:, -1])
    return Contexts([*map(torch.cat, keys)], [*map(torch.cat, values)], torch.cat(last), is_real)


def _continue(
    decoder: Decoder, contexts: Contexts, owner: Int[Tensor, " N"], tokens: Int[Tensor, "N T"]
) -> Float[Tensor, "N T V"]:
    """Logits (N, T, V) that predict the tokens (N, T) of completions of `contexts[owner]`."""
    before, length = contexts.is_real.shape[1], tokens.shape[1]
    cos, sin = (table[before:] for table in decoder.rotary(before + length))
    own = torch.ones(length, length, dtype=torch.bool, device=tokens.device).tril()
    seen = contexts.is_real[owner][:, None, None].expand(-1, 1, length, -1)
    mask = torch.cat([seen, own.expand(len(owner), 1, -1, -1)], -1)
    x = functional.embedding(tokens, decoder.embedding)
    for layer, keys, values in zip(decoder.layers, contexts.keys, contexts.values, strict=True):
        q, k, v = (heads.transpose(1, 2) for heads in decoder.qkv(x, layer, cos, sin))
        k, v = torch.cat([keys[owner], k], 2), torch.cat([values[owner], v], 2)
        x = decoder.finish(x, _attend(q, k, v, mask), layer)
    predicting = torch.cat([contexts.last[owner][:, None], x[:, :-1]], 1)
    return decoder.logits(predicting)


def _attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    mixed = functional.scaled_dot_product_attention(q, k, v, mask, scale=1.0, enable_gqa=True)
    return mixed.transpose(1, 2).flatten(2)


def _padded(rows: Ids, pad_token_id: int, *, left: bool) -> tuple[Tensor, Tensor]:
    """Token ids and what of them is real, (n, longest)."""
    longest = max(map(len, rows))
    ids = torch.full((len(rows), longest), pad_token_id)
    real = torch.zeros(len(rows), longest, dtype=torch.bool)
    for i, row in enumerate(rows):
        span = slice(longest - len(row), longest) if left else slice(len(row))
        ids[i, span] = torch.tensor(list(row))
        real[i, span] = True
    return ids, real

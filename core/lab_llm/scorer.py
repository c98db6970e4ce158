"""Log-probabilities of completions after prompts that several of them share.

A teacher scores many rollouts after few contexts: each context is run through the model once, and
its completions attend to its keys and values.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from lab_llm.decoder import Decoder

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
) -> Tensor:
    """log P(completion token | prompt, tokens before), float32 (n, width), 0 beyond the end.

    Row i scores `completions[i]` after `prompts[i]`; logits are divided by `temperature`. Rows are
    taken prompt by prompt in batches of `batch_size`. Raises LabError for an architecture that the
    decoder does not know.
    """
    decoder = Decoder(model)
    result = torch.zeros(len(prompts), width, device=model.device)
    order = sorted(range(len(prompts)), key=lambda i: (len(prompts[i]), tuple(prompts[i])))
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        shared = list(dict.fromkeys(tuple(prompts[i]) for i in rows))
        owner = [shared.index(tuple(prompts[i])) for i in rows]
        found = _batch(decoder, shared, owner, [completions[i] for i in rows], pad_token_id)
        logprobs = (found.logits.float() / temperature).log_softmax(-1)
        scored = logprobs.gather(2, found.tokens[..., None])[..., 0]
        result[rows, : scored.shape[1]] = scored.masked_fill(~found.is_real, 0.0)
    return result


class _Scored:
    """Logits (N, T, V) that predict the tokens (N, T), of which `is_real` (N, T) are real."""

    def __init__(self, logits: Tensor, tokens: Tensor, is_real: Tensor) -> None:
        self.logits, self.tokens, self.is_real = logits, tokens, is_real


def _batch(
    decoder: Decoder, prompts: Ids, owner: Sequence[int], completions: Ids, pad_token_id: int
) -> _Scored:
    """Run P prompts (padded left), then N completions (padded right), of `prompts[owner]` each."""
    device = decoder.embedding.device
    ids, real = _padded(prompts, pad_token_id, left=True)
    tokens, is_real = _padded(completions, pad_token_id, left=False)
    ids, real, tokens, is_real = (t.to(device) for t in (ids, real, tokens, is_real))
    of = torch.tensor(owner, device=device)
    before, length = ids.shape[1], tokens.shape[1]
    cos, sin = decoder.rotary(before + length)
    in_prompt = (_causal(before, device) & real[:, None, None]) | _itself(before, device)
    own = _causal(length, device).expand(len(owner), 1, -1, -1)
    in_both = torch.cat([real[of][:, None, None].expand(-1, 1, length, -1), own], -1)
    x = functional.embedding(ids, decoder.embedding)
    y = functional.embedding(tokens, decoder.embedding)
    for layer in decoder.layers:
        q, k, v = (h.transpose(1, 2) for h in decoder.qkv(x, layer, cos[:before], sin[:before]))
        x = decoder.finish(x, _attend(q, k, v, in_prompt), layer)
        q, *own_kv = (h.transpose(1, 2) for h in decoder.qkv(y, layer, cos[before:], sin[before:]))
        k, v = (torch.cat([a[of], b], 2) for a, b in zip((k, v), own_kv, strict=True))
        y = decoder.finish(y, _attend(q, k, v, in_both), layer)
    predicting = torch.cat([x[of, -1:], y[:, :-1]], 1)
    return _Scored(decoder.logits(predicting), tokens, is_real)


def _attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    mixed = functional.scaled_dot_product_attention(q, k, v, mask, scale=1.0, enable_gqa=True)
    return mixed.transpose(1, 2).flatten(2)


def _causal(size: int, device: torch.device) -> Tensor:
    return torch.ones(size, size, dtype=torch.bool, device=device).tril()


def _itself(size: int, device: torch.device) -> Tensor:
    """Lets padding attend to itself, so that no row of the softmax is empty."""
    return torch.eye(size, dtype=torch.bool, device=device)


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

"""The transformer block with a feed-forward net of its own for the histories.

Weights are stacked: S networks of one shape are evaluated side by side, each weight with a leading
dimension S and matrices as (S, in, out). S = 1 carries the gradient to the module's parameters.
"""

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Weights = Mapping[str, Tensor]

DROPPED = -1e9
"""Attention score of a pair with a dropped token: finite, so that a dropped token, all of whose
pairs are masked, attends to all tokens alike, as in the published code."""


class Block(nn.Module):
    """Parameters of one block: x <- LN1(x + MHA(x)), x <- LN2(x + [FFN_obs; FFN_hist](x))."""

    def __init__(self, width: int, *, heads: int, ffn_factor: int) -> None:
        super().__init__()
        hidden = ffn_factor * width
        self.qkv = nn.Linear(width, 3 * heads * width, bias=False)
        self.out = nn.Linear(heads * width, width)
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)
        self.obs_up = nn.Linear(width, hidden)
        self.obs_down = nn.Linear(hidden, width)
        self.hist_up = nn.Linear(width, hidden)
        self.hist_down = nn.Linear(hidden, width)


def stacked(networks: Sequence[nn.Module], *, dtype: torch.dtype | None = None) -> Weights:
    """The networks' parameters, each (S, ...); matrices transposed to (S, in, out).

    `dtype` is that of the matrix products alone: layer norms and all sums stay as they are.
    """
    tables = [dict(network.named_parameters()) for network in networks]
    weights = {}
    for name in tables[0]:
        rows = [table[name] for table in tables]
        weight = rows[0][None] if len(rows) == 1 else torch.stack(rows)
        weight = weight.transpose(1, 2) if weight.dim() == 3 else weight
        weights[name] = weight if dtype is None or "norm" in name else weight.to(dtype)
    return weights


def linear(weights: Weights, name: str, x: Tensor, *, widen: bool = True) -> Tensor:
    """x W + b for x (S, ..., in), computed in the weights' precision.

    The result has the precision of x unless `widen` is False.
    """
    weight, bias = weights[f"{name}.weight"], weights.get(f"{name}.bias")
    flat = x.reshape(x.shape[0], -1, x.shape[-1]).to(weight.dtype)
    if bias is None:
        made = torch.bmm(flat, weight)
    else:
        made = torch.baddbmm(bias[:, None], flat, weight)
    made = made.view(*x.shape[:-1], weight.shape[-1])
    return made.to(x.dtype) if widen else made


def layer_norm(weights: Weights, name: str, x: Tensor) -> Tensor:
    """Layer norm over the last dimension of x (S, rows, tokens, d)."""
    scale, shift = weights[f"{name}.weight"], weights[f"{name}.bias"]
    if x.shape[0] == 1:
        return F.layer_norm(x, x.shape[-1:], scale[0], shift[0])
    normed = F.layer_norm(x, x.shape[-1:])
    return torch.addcmul(shift[:, None, None], normed, scale[:, None, None])


def block(
    weights: Weights,
    name: str,
    x: Tensor,
    bias: Tensor | None,
    *,
    heads: int,
    histories: int,
    skip: int = 0,
    last: bool = False,
    maps: list[Tensor] | None = None,
) -> Tensor:
    """The block's output for x (S, R, K, d), whose last `histories` tokens are histories.

    `bias` (R, K, K) is added to the attention scores. With `last`, only the tokens that are read
    afterwards are computed: not the first `skip` ones, and of the histories the first one alone.
    `maps` receives the attention weights (S, R, heads, queries, K).
    """
    tokens = x.shape[2]
    stop = tokens - histories + 1 if last else tokens
    queries = x[:, :, skip:stop]
    mixed = _attention(weights, name, x, queries, bias, heads, skip, stop, maps)
    y = layer_norm(weights, f"{name}.norm1", queries + linear(weights, f"{name}.out", mixed))
    kept = 1 if last else histories
    entities, hist = y[:, :, :-kept], y[:, :, -kept:]
    fed = [
        _feed_forward(weights, f"{name}.obs", entities),
        _feed_forward(weights, f"{name}.hist", hist),
    ]
    return layer_norm(weights, f"{name}.norm2", y + torch.cat(fed, 2))


def _feed_forward(weights: Weights, name: str, x: Tensor) -> Tensor:
    hidden = F.relu(linear(weights, f"{name}_up", x, widen=False))
    return linear(weights, f"{name}_down", hidden).to(x.dtype)


def _attention(
    weights: Weights,
    name: str,
    x: Tensor,
    queries: Tensor,
    bias: Tensor | None,
    heads: int,
    skip: int,
    stop: int,
    maps: list[Tensor] | None,
) -> Tensor:
    """softmax(q k / sqrt(d) + bias) v for the queries, heads side by side: (S, R, Q, heads d)."""
    width = heads * x.shape[-1]
    weight = weights[f"{name}.qkv.weight"]
    if queries.shape[2] == x.shape[2]:
        q, k, v = linear({"qkv.weight": weight}, "qkv", x).split(width, -1)
    else:
        q = linear({"q.weight": weight[..., :width]}, "q", queries)
        k, v = linear({"kv.weight": weight[..., width:]}, "kv", x).split(width, -1)
    part = None if bias is None else bias[:, skip:stop].to(x.dtype)
    if heads == 1 and maps is None:
        mask = None if part is None else part[None]
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    q, k, v = (_split_heads(values, heads) for values in (q, k, v))
    mask = None if part is None else part.repeat(x.shape[0], 1, 1)[:, None]
    if maps is not None:
        scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
        shown = (scores if mask is None else scores + mask).softmax(-1)
        maps.append(shown.unflatten(0, x.shape[:2]))
    mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    return mixed.transpose(1, 2).reshape(*x.shape[:2], -1, width)


def _split_heads(values: Tensor, heads: int) -> Tensor:
    """(S, R, K, heads d) -> (S R, heads, K, d)."""
    return values.flatten(0, 1).unflatten(-1, (heads, -1)).transpose(1, 2)

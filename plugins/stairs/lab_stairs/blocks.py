"""The transformer block with a feed-forward net of its own for the histories.

Weights are stacked: S networks of one shape are evaluated side by side, each weight with a leading
dimension S and matrices as (S, in, out). S = 1 carries the gradient to the module's parameters.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Weights = Mapping[str, Tensor]


@dataclass(frozen=True)
class Dropped:
    """Token dropout of R rows: nobody attends to a dropped token, and a dropped token attends to
    all tokens alike, whatever they hold, as in the published code."""

    bias: Tensor
    """(R, K, K): -inf where the row's token is kept and the column's is dropped, else 0."""
    kept: Tensor
    """(R, K): 1 at kept tokens, 0 at dropped ones."""

    @classmethod
    def of(cls, kept: Tensor) -> "Dropped":
        """From (R, K) bool."""
        hidden = kept[:, :, None] & ~kept[:, None]
        bias = torch.zeros(hidden.shape, device=kept.device).masked_fill_(hidden, -torch.inf)
        return cls(bias, kept.float())

    def split(self, sizes: Sequence[int]) -> list["Dropped"]:
        """Consecutive groups of rows."""
        parts = zip(self.bias.split(list(sizes)), self.kept.split(list(sizes)), strict=True)
        return [Dropped(bias, kept) for bias, kept in parts]


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

    Each block's attention is folded: scores are q_i . k_j = x_i (Wq Wk^T) x_j, and the output is
    sum_j p_ij x_j (Wv Wo), so the products of matrices are taken once here (in float64) and tokens
    are projected two times instead of four. `dtype` is that of the matrix products of tokens alone:
    layer norms and all sums stay as they are.
    """
    tables: list[dict[str, Tensor]] = [dict(network.named_parameters()) for network in networks]
    weights: dict[str, Tensor] = {}
    for name in tables[0]:
        rows = [table[name] for table in tables]
        weight = rows[0][None] if len(rows) == 1 else torch.stack(rows)
        weights[name] = weight.transpose(1, 2) if weight.dim() == 3 else weight
    for name in [n for n in weights if n.endswith(".qkv.weight")]:
        _fold(weights, name.removesuffix(".qkv.weight"))
    if dtype is None:
        return weights
    return {name: w if "norm" in name else w.to(dtype) for name, w in weights.items()}


def _fold(weights: dict[str, Tensor], name: str) -> None:
    """Replace a block's q, k, v and output matrices by Wq Wk^T and Wv Wo of each head."""
    qkv, out = weights.pop(f"{name}.qkv.weight"), weights[f"{name}.out.weight"]
    width = qkv.shape[1]
    q, k, v = (part.unflatten(-1, (-1, width)).double() for part in qkv.chunk(3, -1))
    o = out.unflatten(1, (-1, width)).double()
    score = torch.einsum("sihd,sjhd->sihj", q, k).flatten(2)
    mixed = torch.einsum("sihd,shdo->shio", v, o).flatten(1, 2)
    weights[f"{name}.score.weight"] = score.to(qkv.dtype)
    weights[f"{name}.out.weight"] = mixed.to(out.dtype)


def linear(weights: Weights, name: str, x: Tensor, *, widen: bool = True) -> Tensor:
    """x W + b for x (S, ..., in), computed in the weights' precision.

    The result has the precision of x unless `widen` is False.
    """
    weight, bias = weights[f"{name}.weight"], weights.get(f"{name}.bias")
    flat = x.reshape(x.shape[0], -1, x.shape[-1]).to(weight.dtype)
    made = torch.bmm(flat, weight) if bias is None else torch.baddbmm(bias[:, None], flat, weight)
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
    dropped: Dropped | None,
    *,
    heads: int,
    histories: int,
    skip: int = 0,
    last: bool = False,
    maps: list[Tensor] | None = None,
) -> Tensor:
    """The block's output for x (S, R, K, d), whose last `histories` tokens are histories.

    With `last`, only the tokens that are read afterwards are computed: not the first `skip` ones,
    and of the histories the first one alone. `maps` receives the attention weights
    (S, R, heads, queries, K).
    """
    stop = x.shape[2] - histories + 1 if last else x.shape[2]
    read = slice(skip, stop)
    mixed = _attention(weights, name, x, read, dropped, heads, maps)
    queries = x[:, :, read]
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
    read: slice,
    dropped: Dropped | None,
    heads: int,
    maps: list[Tensor] | None,
) -> Tensor:
    """sum_j softmax_j(x_i (Wq Wk^T) x_j / sqrt(d)) x_j for the tokens i that are read.

    (S, R, Q, heads d), heads side by side; `out` holds Wv Wo.
    """
    q = linear(weights, f"{name}.score", x[:, :, read])
    bias = None
    if dropped is not None:
        # A dropped token's scores are all 0: it attends to all alike, and no gradient comes back.
        q = q * dropped.kept[:, read, None]
        # torch 2.13 misreads a float32 mask beside float64 queries on processors without AVX-512.
        bias = dropped.bias[None, :, read].to(q.dtype)
    if heads == 1 and maps is None:
        return F.scaled_dot_product_attention(q, x, x, attn_mask=bias)
    q = q.unflatten(-1, (heads, -1)).transpose(2, 3).flatten(0, 1)
    k = x.flatten(0, 1)[:, None].expand(-1, heads, -1, -1)
    bias = None if bias is None else bias.expand(x.shape[0], -1, -1, -1).flatten(0, 1)[:, None]
    if maps is not None:
        scores = q @ k.transpose(-1, -2) / x.shape[-1] ** 0.5
        shown = (scores if bias is None else scores + bias).softmax(-1)
        maps.append(shown.unflatten(0, x.shape[:2]))
    mixed = F.scaled_dot_product_attention(q, k, k, attn_mask=bias)
    return mixed.transpose(1, 2).flatten(2).unflatten(0, x.shape[:2])

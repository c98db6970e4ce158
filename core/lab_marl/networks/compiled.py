"""The transformer over entity tokens by the compiled kernel: torch's values but for rounding."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lab_marl.episodes.layouts import Layout
from lab_marl.kernel.unroll import Course, Kernel
from lab_marl.networks.embedding import EntityEmbedding
from lab_marl.networks.transformer import HistoryTransformer
from lab_marl.training.entity_features import EntityFeatures


class Compilable(nn.Module):
    """A network over a batch's frames that the compiled kernel can compute."""

    kernel: Kernel | None = None
    """None: torch's operations, one by one. It is no part of the state."""


def compiled_scores(
    kernel: Kernel,
    embedding: EntityEmbedding,
    transformer: HistoryTransformer,
    head: tuple[Float[Tensor, "m d"], Float[Tensor, " m"]],
    layout: Layout,
    features: EntityFeatures,
    counts: Sequence[int],
    *,
    extra: Float[Tensor, "rows n e"] | None = None,
    attacks: bool,
) -> Float[Tensor, "rows n a"]:
    """`head` over `HistoryTransformer.unroll` of the embedded features, of one block and one head.

    The m outputs of the own token, and with `attacks` their mean at each enemy's token. Features
    get no gradient.
    """
    own = features.own if extra is None else torch.cat([features.own, extra], -1)
    parts = {"own": own[..., None, :], "enemies": features.enemies, "allies": features.allies}
    kinds = ("allies", "own", "enemies") if attacks else ("enemies", "allies", "own")
    course = Course(
        kinds=kinds,
        sizes=[count * layout.num_agents for count in counts],
        skip=layout.allies.count + (0 if attacks else layout.enemies.count),
        before=0,
        high_step=1,
        blocks=("low",),
        has_high_history=False,
    )
    inputs = [parts[kind].flatten(0, 1) for kind in kinds]
    scores = kernel.values(_parameters(embedding, transformer, head), inputs, None, course)
    return scores.unflatten(0, (-1, layout.num_agents))


def _parameters(
    embedding: EntityEmbedding, transformer: HistoryTransformer, head: tuple[Tensor, Tensor]
) -> dict[str, Tensor]:
    """The weights by the kernel's names: its block has a feed-forward net of its own for the
    histories, which here is that of all tokens."""
    block = transformer.last
    up, _, down = block.feed_forward
    found: dict[str, Any] = {
        "low.qkv.weight": torch.cat([block.query.weight, block.key_value.weight]),
        "readout.weight": transformer.output.weight,
        "readout.bias": transformer.output.bias,
        "head.weight": head[0],
        "head.bias": head[1],
    }
    layers = {"low.out": block.out, "low.norm1": block.norm1, "low.norm2": block.norm2}
    layers |= {f"low.{tokens}_up": up for tokens in ("obs", "hist")}
    layers |= {f"low.{tokens}_down": down for tokens in ("obs", "hist")}
    layers |= {kind: getattr(embedding, kind) for kind in ("own", "enemies", "allies")}
    for name, layer in layers.items():
        found |= {f"{name}.weight": layer.weight, f"{name}.bias": layer.bias}
    return found

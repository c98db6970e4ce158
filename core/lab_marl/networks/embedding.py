"""Entity tokens of observations, and one number per action from the tokens' outputs."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lab_marl.episodes.batches import Batch
from lab_marl.episodes.layouts import Layout
from lab_marl.networks.config import TransformerConfig
from lab_marl.networks.rows import Rows
from lab_marl.training.entity_features import (
    EntityFeatures,
    enemy_width,
    entity_features,
    last_actions,
    own_width,
)


class EntityEmbedding(nn.Module):
    """One linear layer for each kind of entity; `extra` more numbers enter the own token."""

    def __init__(self, layout: Layout, config: TransformerConfig, *, extra: int = 0) -> None:
        super().__init__()
        width = config.width
        self.own = nn.Linear(own_width(layout, config.id_bits) + extra, width)
        self.enemies = nn.Linear(enemy_width(layout), width)
        self.allies = nn.Linear(layout.allies.width, width)

    def forward(
        self, features: EntityFeatures, extra: Float[Tensor, "rows n e"] | None = None
    ) -> Float[Tensor, "rows n k d"]:
        """Tokens in the order own, enemies, allies."""
        own = features.own if extra is None else torch.cat([features.own, extra], -1)
        tokens = [self.own(own)[:, :, None], self.enemies(features.enemies)]
        return torch.cat([*tokens, self.allies(features.allies)], 2)


def batch_features(batch: Batch, rows: Rows, *, id_bits: int) -> EntityFeatures:
    """The entities' features at some frames of a batch."""
    last = rows.take(last_actions(batch))
    return entity_features(batch.layout, rows.take(batch.obs), last, id_bits=id_bits)


def read_tokens(layout: Layout) -> int:
    """Tokens from which actions are read: the own one and, where there are attacks, the enemies."""
    return 1 + (layout.num_enemies if layout.attacks else 0)


def action_scores(layout: Layout, head: Float[Tensor, "rows n r m"]) -> Float[Tensor, "rows n a"]:
    """One number per action: the head's output at the own token for the non-attack actions, the
    mean of its m outputs at an enemy's token for the attack on it."""
    if not layout.attacks:
        return head[:, :, 0]
    return torch.cat([head[:, :, 0], head[:, :, 1:].mean(-1)], -1)

"""The attention mixer: Q_tot of the agents' values, for any number of agents and enemies."""

import torch
from jaxtyping import Float
from lab_marl.episodes.layouts import Layout
from lab_marl.training.entity_features import state_ally_width, state_entities
from torch import Tensor, nn

from lab_stairs.config import MixerConfig
from lab_stairs.objectives import mixed_value, pooled_entities


class AttentionMixer(nn.Module):
    """QMIX whose hypernetworks read a pooled code of the state's entities ("Qatten").

    Its weights serve every task of the layout's signature.
    """

    def __init__(self, layout: Layout, config: MixerConfig) -> None:
        super().__init__()
        entity, mixing = config.entity_width, config.mixing_width
        self.allies = nn.Linear(state_ally_width(layout), entity)
        self.enemies = nn.Linear(layout.state_enemies.width, entity)
        self.query = nn.Linear(entity, config.attention_width)
        self.key = nn.Linear(entity, config.attention_width)
        self.first = _hypernetwork(2 * entity, config.hyper_width, mixing)
        self.final = _hypernetwork(entity, config.hyper_width, mixing)
        self.bias = nn.Linear(entity, mixing)
        self.value = _hypernetwork(entity, mixing, 1)

    def forward(
        self, layout: Layout, q: Float[Tensor, "rows n"], state: Float[Tensor, "rows s"]
    ) -> Float[Tensor, " rows"]:
        """Q_tot of the agents' chosen values in each state."""
        ally_state, enemy_state = state_entities(layout, state)
        allies = self.allies(ally_state)
        entities = torch.cat([allies, self.enemies(enemy_state)], 1)
        pooled = pooled_entities(entities, self.key(entities), self.query(entities))
        beside = pooled[:, None].expand(-1, layout.num_agents, -1)
        return mixed_value(
            q,
            self.first(torch.cat([beside, allies], -1)),
            self.bias(pooled),
            self.final(pooled),
            self.value(pooled).squeeze(-1),
        )


def _hypernetwork(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, outputs))

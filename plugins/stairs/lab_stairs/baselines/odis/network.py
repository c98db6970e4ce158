"""The networks of ODIS (LAMDA-RL/ODIS, odis_agent.py)."""

import torch
from jaxtyping import Float, Int
from lab_marl.episodes.layouts import Layout
from lab_marl.networks.config import TransformerConfig
from lab_marl.networks.embedding import EntityEmbedding, action_scores, read_tokens
from lab_marl.networks.transformer import HistoryTransformer
from lab_marl.training.entity_features import EntityFeatures
from torch import Tensor, nn
from torch.nn import functional

from lab_stairs.baselines.acted_entities import acted_entities, acted_widths
from lab_stairs.baselines.config import ODISConfig
from lab_stairs.baselines.objectives import swapped_attention

Memory = tuple[Tensor, Tensor]
"""Histories (agents, d) of the observation encoder and of the decoder."""


class StateEncoder(nn.Module):
    """A code of each agent from the state and the joint action, with one attention layer."""

    def __init__(self, layout: Layout, width: int, *, attention_width: int) -> None:
        super().__init__()
        ally_width, enemy_width = acted_widths(layout)
        self.allies = nn.Linear(ally_width, width)
        self.enemies = nn.Linear(enemy_width, width)
        self.query = nn.Linear(width, attention_width)
        self.key = nn.Linear(width, attention_width)

    def forward(
        self, layout: Layout, state: Float[Tensor, "rows s"], actions: Int[Tensor, "rows n"]
    ) -> Float[Tensor, "rows n d"]:
        """Codes of the agents; enemies have one bit "attacked by someone now"."""
        shown = functional.one_hot(actions, layout.num_actions).float()
        ally_state, enemy_state = acted_entities(layout, state, shown)
        entities = torch.cat([self.allies(ally_state), self.enemies(enemy_state)], 1)
        keys = self.key(entities[:, : layout.num_agents])
        return swapped_attention(self.query(entities), keys, entities)


class ObservationEncoder(nn.Module):
    """A code of each agent from its own observations: the output at its own token."""

    def __init__(self, layout: Layout, config: TransformerConfig) -> None:
        super().__init__()
        self.embedding = EntityEmbedding(layout, config)
        self.transformer = HistoryTransformer(config)

    def forward(
        self, features: EntityFeatures, counts: tuple[int, ...]
    ) -> Float[Tensor, "rows n d"]:
        return self.transformer.unroll(self.embedding(features), counts, read=1)[:, :, 0]

    def step(self, features: EntityFeatures, history: Tensor) -> tuple[Tensor, Tensor]:
        """Codes (E, n, d) and the histories after this step."""
        outputs, history = self.transformer.step(self.embedding(features), history, read=1)
        return outputs[:, :, 0], history


class SkillDecoder(nn.Module):
    """Logits of each agent's actions from its observations and its skill."""

    def __init__(self, layout: Layout, config: TransformerConfig, *, num_skills: int) -> None:
        super().__init__()
        self.embedding = EntityEmbedding(layout, config)
        self.transformer = HistoryTransformer(config)
        self.skill = nn.Linear(num_skills, config.width)
        self.head = nn.Linear(2 * config.width, layout.num_non_attack)

    def forward(
        self,
        layout: Layout,
        features: EntityFeatures,
        skills: Float[Tensor, "rows n K"],
        counts: tuple[int, ...],
    ) -> Float[Tensor, "rows n a"]:
        tokens = self.embedding(features)
        outputs = self.transformer.unroll(tokens, counts, read=read_tokens(layout))
        return self._scores(layout, outputs, skills)

    def step(
        self, layout: Layout, features: EntityFeatures, skills: Tensor, history: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Logits (E, n, a) and the histories after this step."""
        tokens = self.embedding(features)
        outputs, history = self.transformer.step(tokens, history, read=read_tokens(layout))
        return self._scores(layout, outputs, skills), history

    def _scores(self, layout: Layout, outputs: Tensor, skills: Tensor) -> Tensor:
        skill = self.skill(skills)[:, :, None].expand_as(outputs)
        return action_scores(layout, self.head(torch.cat([outputs, skill], -1)))


class ODISNetwork(nn.Module):
    """Skill discovery (state encoder, skill head, decoder) and the policy over skills."""

    def __init__(self, layout: Layout, config: ODISConfig) -> None:
        super().__init__()
        width = config.transformer.width
        self.num_skills = config.num_skills
        self.state_encoder = StateEncoder(
            layout, width, attention_width=config.mixer.attention_width
        )
        self.skill_head = nn.Linear(width, config.num_skills)
        self.decoder = SkillDecoder(layout, config.transformer, num_skills=config.num_skills)
        self.observation_encoder = ObservationEncoder(layout, config.transformer)
        self.value_head = nn.Linear(width, config.num_skills)

    def discovery(self) -> list[nn.Module]:
        """The parts that skill discovery trains and that the policy leaves as they are."""
        return [self.state_encoder, self.skill_head, self.decoder]

    def begin(self, agents: int) -> Memory:
        return self.observation_encoder.transformer.begin(agents), self.decoder.transformer.begin(
            agents
        )

    def step(
        self, layout: Layout, features: EntityFeatures, memory: Memory
    ) -> tuple[Float[Tensor, "rows n a"], Memory]:
        """Logits of the actions under the skill of the highest value."""
        codes, seen = self.observation_encoder.step(features, memory[0])
        best = functional.one_hot(self.value_head(codes).argmax(-1), self.num_skills).float()
        logits, decoded = self.decoder.step(layout, features, best, memory[1])
        return logits, (seen, decoded)

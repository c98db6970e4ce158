"""The networks of HiSSD (mooricAnna/HiSSD, hissd_agent.py)."""

import torch
from jaxtyping import Float
from lab_marl.episodes.layouts import Layout
from lab_marl.networks.embedding import EntityEmbedding, read_tokens
from lab_marl.networks.transformer import HistoryTransformer, TokenTransformer
from lab_marl.training.entity_features import EntityFeatures
from torch import Tensor, nn

from lab_stairs.baselines.config import HiSSDConfig
from lab_stairs.baselines.hissd.predictor import StatePredictor, small_net

Memory = tuple[Tensor, Tensor]
"""Histories (agents, d) of the planner and of the controller."""
TOKENS_OF_EACH = 2
"""Tokens of an entity in the controller: what is seen of it, and its common skill."""


class KindNets(nn.Module):
    """One small net for each kind of token, in the order own, enemies, allies."""

    def __init__(self, config: HiSSDConfig) -> None:
        super().__init__()
        width, hidden = config.transformer.width, config.hidden_width
        self.nets = nn.ModuleList(small_net(width, width, hidden, squashed=True) for _ in range(3))

    def forward(
        self, layout: Layout, tokens: Float[Tensor, "rows n k d"]
    ) -> Float[Tensor, "rows n k d"]:
        parts = tokens.split([1, layout.num_enemies, layout.allies.count], 2)
        return torch.cat([net(part) for net, part in zip(self.nets, parts, strict=True)], 2)


class Planner(nn.Module):
    """Common skills: one code for each entity that an agent sees."""

    def __init__(self, layout: Layout, config: HiSSDConfig) -> None:
        super().__init__()
        self.embedding = EntityEmbedding(layout, config.transformer)
        self.transformer = HistoryTransformer(config.transformer)

    def forward(
        self, features: EntityFeatures, counts: tuple[int, ...]
    ) -> Float[Tensor, "rows n k d"]:
        tokens = self.embedding(features)
        return self.transformer.unroll(tokens, counts, read=tokens.shape[2])

    def step(self, features: EntityFeatures, history: Tensor) -> tuple[Tensor, Tensor]:
        tokens = self.embedding(features)
        return self.transformer.step(tokens, history, read=tokens.shape[2])


class TaskEncoder(nn.Module):
    """Task-specific skills: a code of each agent from its present observation."""

    def __init__(self, layout: Layout, config: HiSSDConfig) -> None:
        super().__init__()
        width, hidden = config.transformer.width, config.hidden_width
        self.embedding = EntityEmbedding(layout, config.transformer)
        self.transformer = TokenTransformer(config.transformer)
        self.to_skill = small_net(width, width, hidden, squashed=True)
        self.to_contrast = small_net(width, width, hidden, squashed=False)
        self.bilinear = nn.Parameter(torch.rand(width, width))

    def skills(self, features: EntityFeatures) -> Float[Tensor, "rows n d"]:
        """What the controller gets."""
        return self.to_skill(self._codes(features))

    def contrasts(self, features: EntityFeatures) -> Float[Tensor, "rows n d"]:
        """What the contrastive term compares."""
        return self.to_contrast(self._codes(features))

    def _codes(self, features: EntityFeatures) -> Tensor:
        return self.transformer(self.embedding(features), read=1)[:, :, 0]


class Controller(nn.Module):
    """Logits of the actions from observations, common skills and the task-specific skill."""

    def __init__(self, layout: Layout, config: HiSSDConfig) -> None:
        super().__init__()
        width, hidden = 2 * config.transformer.width, config.hidden_width
        self.embedding = EntityEmbedding(layout, config.transformer)
        self.transformer = HistoryTransformer(config.transformer)
        self.moves = small_net(width, layout.num_non_attack, hidden, squashed=False)
        if layout.attacks:
            self.attack = small_net(width, 1, hidden, squashed=False)

    def forward(
        self,
        layout: Layout,
        features: EntityFeatures,
        common: Float[Tensor, "rows n k d"],
        specific: Float[Tensor, "rows n d"],
        counts: tuple[int, ...],
    ) -> Float[Tensor, "rows n a"]:
        tokens = torch.cat([self.embedding(features), common], 2)
        outputs = self.transformer.unroll(tokens, counts, read=read_tokens(layout))
        return self._scores(layout, outputs, specific)

    def step(
        self,
        layout: Layout,
        features: EntityFeatures,
        common: Tensor,
        specific: Tensor,
        history: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Logits (E, n, a) and the histories after this step."""
        tokens = torch.cat([self.embedding(features), common], 2)
        outputs, history = self.transformer.step(tokens, history, read=read_tokens(layout))
        return self._scores(layout, outputs, specific), history

    def _scores(self, layout: Layout, outputs: Tensor, specific: Tensor) -> Tensor:
        joined = torch.cat([outputs, specific[:, :, None].expand_as(outputs)], -1)
        moves = self.moves(joined[:, :, 0])
        if not layout.attacks:
            return moves
        return torch.cat([moves, self.attack(joined[:, :, 1:]).squeeze(-1)], -1)


class ValueNetwork(nn.Module):
    """One value for each agent, from its observations or from its planner's skills."""

    def __init__(self, layout: Layout, config: HiSSDConfig) -> None:
        super().__init__()
        self.embedding = EntityEmbedding(layout, config.transformer)
        self.transformer = HistoryTransformer(config.transformer)
        self.head = small_net(config.transformer.width, 1, config.hidden_width, squashed=False)

    def forward(self, features: EntityFeatures, counts: tuple[int, ...]) -> Float[Tensor, "rows n"]:
        return self.of_tokens(self.embedding(features), counts)

    def of_tokens(
        self, tokens: Float[Tensor, "rows n k d"], counts: tuple[int, ...]
    ) -> Float[Tensor, "rows n"]:
        return self.head(self.transformer.unroll(tokens, counts, read=1)[:, :, 0]).squeeze(-1)


class HiSSDNetwork(nn.Module):
    """All networks but the mixer."""

    def __init__(self, layout: Layout, config: HiSSDConfig) -> None:
        super().__init__()
        self.planner = Planner(layout, config)
        self.for_action = KindNets(config)
        self.for_value = KindNets(config)
        self.predictor = StatePredictor(
            layout,
            config.transformer.width,
            attention_width=config.mixer.attention_width,
            hidden=config.hidden_width,
        )
        self.task_encoder = TaskEncoder(layout, config)
        self.controller = Controller(layout, config)
        self.value = ValueNetwork(layout, config)

    def begin(self, agents: int) -> Memory:
        return self.planner.transformer.begin(agents), self.controller.transformer.begin(agents)

    def step(
        self, layout: Layout, features: EntityFeatures, memory: Memory
    ) -> tuple[Float[Tensor, "rows n a"], Memory]:
        """Logits of the actions after one more observation of each agent."""
        skills, planned = self.planner.step(features, memory[0])
        logits, controlled = self.controller.step(
            layout,
            features,
            self.for_action(layout, skills),
            self.task_encoder.skills(features),
            memory[1],
        )
        return logits, (planned, controlled)

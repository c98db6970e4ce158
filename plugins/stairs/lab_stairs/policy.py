"""The greedy policy of a trained network, step by step over a batch of copies."""

from typing import TYPE_CHECKING

import numpy as np
import torch
from lab_marl.environments.interface import Actor, Frame
from lab_marl.episodes.layouts import Layout
from lab_marl.evaluation.figures import Drawn
from lab_marl.networks.greedy import UNAVAILABLE
from lab_marl.training.entity_features import check_ids, entity_features
from torch import Tensor

from lab_stairs.attention_figure import attention_record, draw_attention
from lab_stairs.blocks import Weights, stacked
from lab_stairs.config import NetworkConfig
from lab_stairs.network import Memory, StairsNetwork, advance, embed, q_values, start

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Episode:
    """One batch of episodes played by stacked weights (S = 1)."""

    def __init__(
        self,
        weights: Weights,
        config: NetworkConfig,
        layout: Layout,
        num_envs: int,
        *,
        watch: list[list[Tensor]] | None = None,
    ) -> None:
        """`watch` receives, step by step, the attention weights of every block applied."""
        self.watch = watch
        self.weights, self.config, self.layout = weights, config, layout
        self.device = weights["readout.weight"].device
        self.memory: Memory = start(weights, num_envs * layout.num_agents, config)
        shape = (num_envs, layout.num_agents, layout.num_actions)
        self.last = torch.zeros(shape, device=self.device)
        self.time = 0

    @torch.no_grad()
    def act(self, frame: Frame, live: np.ndarray) -> np.ndarray:
        """Actions of every copy; those of ended copies are allowed ones."""
        maps: list[Tensor] | None = None if self.watch is None else []
        read = self.read(frame, maps)
        if self.watch is not None and maps is not None:
            self.watch.append(maps)
        actions, self.last = self.choose(read, frame)
        return actions.cpu().numpy()

    def choose(self, read: Tensor, frame: Frame) -> tuple[Tensor, Tensor]:
        """Actions [E, n], and the form [E, n, a] in which the next step's tokens hold them."""
        q = q_values(self.weights, self.layout, read)[0]
        available = torch.from_numpy(frame.avail_actions).to(self.device)
        actions = q.masked_fill(~available, UNAVAILABLE).argmax(-1)
        return actions, torch.nn.functional.one_hot(actions, self.layout.num_actions).float()

    def read(self, frame: Frame, maps: list[Tensor] | None = None) -> Tensor:
        """(1, E, n, tokens, d): what the head reads; moves the histories one step on."""
        obs = torch.from_numpy(frame.obs).to(self.device)
        features = entity_features(self.layout, obs, self.last, id_bits=self.config.id_bits)
        tokens = embed(self.weights, self.layout, features)
        out, self.memory = advance(
            self.weights, self.config, self.layout, tokens, self.memory, self.time, maps=maps
        )
        self.time += 1
        return out.unflatten(1, (-1, self.layout.num_agents))


class MemoryPolicy:
    """A network that plays, with histories of its own in each batch of episodes."""

    plays: type[Episode]

    def __init__(self, network: StairsNetwork, config: NetworkConfig) -> None:
        self.network = network
        self.config = config

    def start(self, layout: Layout, num_envs: int) -> Actor:
        return self.episode(layout, num_envs).act

    def episode(
        self, layout: Layout, num_envs: int, *, watch: list[list[Tensor]] | None = None
    ) -> Episode:
        """A batch of episodes with the present weights; `watch` as in `Episode`."""
        check_ids(layout, self.config.id_bits)
        with torch.no_grad():
            weights = stacked([self.network])
        return self.plays(weights, self.config, layout, num_envs, watch=watch)

    def watch(self, layout: Layout) -> tuple[Actor, Drawn]:
        """An actor for one copy, and what draws its attention along the steps it has played."""
        maps: list[list[Tensor]] = []

        def drawn() -> dict[str, "Figure"]:
            record = attention_record(layout, maps, temporal=self.config.temporal)
            return {"attention": draw_attention(record, task=layout.task)}

        return self.episode(layout, 1, watch=maps).act, drawn


class NetworkPolicy(MemoryPolicy):
    """argmax over available actions of Q_i, histories carried along each episode."""

    plays = Episode

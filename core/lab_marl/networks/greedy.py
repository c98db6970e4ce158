"""The greedy policy of a network that scores discrete actions."""

from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from lab_marl.environments.interface import Actor, Frame
from lab_marl.episodes.layouts import Layout
from lab_marl.training.entity_features import EntityFeatures, check_ids, entity_features

UNAVAILABLE = -9999999.0
"""Value of an action that its mask forbids (published code)."""


class StepNetwork(Protocol):
    """A network that is asked step by step; `Memory` is whatever it carries along an episode."""

    def begin(self, agents: int) -> Any:
        """The memory of agents before their first step."""
        ...

    def step(self, layout: Layout, features: EntityFeatures, memory: Any) -> tuple[Tensor, Any]:
        """Scores (E, n, a) of the actions, and the memory after this step."""
        ...


class GreedyPolicy:
    """The available action of the highest score. It reads the weights as they are when it acts."""

    def __init__(self, network: StepNetwork, *, id_bits: int, device: torch.device) -> None:
        self.network = network
        self.id_bits = id_bits
        self.device = device

    def start(self, layout: Layout, num_envs: int) -> Actor:
        check_ids(layout, self.id_bits)
        memory = self.network.begin(num_envs * layout.num_agents)
        last = torch.zeros(num_envs, layout.num_agents, layout.num_actions, device=self.device)

        @torch.no_grad()
        def act(frame: Frame, live: np.ndarray) -> np.ndarray:
            nonlocal memory, last
            obs = torch.from_numpy(frame.obs).to(self.device)
            available = torch.from_numpy(frame.avail_actions).to(self.device)
            features = entity_features(layout, obs, last, id_bits=self.id_bits)
            scores, memory = self.network.step(layout, features, memory)
            actions = scores.masked_fill(~available, UNAVAILABLE).argmax(-1)
            last = functional.one_hot(actions, layout.num_actions).float()
            return actions.cpu().numpy()

        return act

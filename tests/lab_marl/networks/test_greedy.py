"""The greedy policy of a network with a history: what it reads on the way."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from lab_marl.environments.interface import Frame
from lab_marl.networks.action_network import ActionNetwork
from lab_marl.networks.config import TransformerConfig
from lab_marl.networks.greedy import UNAVAILABLE, GreedyPolicy
from lab_marl.networks.rows import every_row
from stairs_cases import marine_layout, random_batch

STEPS, LAYOUT = 5, marine_layout(3, 2)


@dataclass
class Watched:
    """A network whose scores are kept step by step."""

    network: ActionNetwork
    scores: list[torch.Tensor] = field(default_factory=list)

    def begin(self, agents: int) -> Any:
        return self.network.begin(agents)

    def step(self, layout, features, memory):
        scores, memory = self.network.step(layout, features, memory)
        self.scores.append(scores)
        return scores, memory


def test_scores_and_actions_on_the_way_are_those_of_training():
    """Of an episode whose actions are the policy's own."""
    torch.manual_seed(1)
    batch = random_batch(LAYOUT, [STEPS, STEPS])
    network = ActionNetwork(LAYOUT, TransformerConfig(width=8))
    watched = Watched(network)
    act = GreedyPolicy(watched, id_bits=4, device=torch.device("cpu")).start(LAYOUT, 2)
    live = np.ones(2, bool)
    frames = [
        Frame(batch.obs[t].numpy(), batch.state[t].numpy(), batch.avail_actions[t].numpy())
        for t in range(STEPS)
    ]
    chosen = torch.from_numpy(np.stack([act(frame, live) for frame in frames]))
    actions = batch.actions.clone()
    actions[:STEPS] = chosen
    own = replace(batch, actions=actions)
    expected = network(own, every_row(own)).unflatten(0, (STEPS + 1, 2))[:STEPS]
    torch.testing.assert_close(torch.stack(watched.scores), expected)
    best = expected.masked_fill(~batch.avail_actions[:STEPS], UNAVAILABLE).argmax(-1)
    assert torch.equal(chosen, best)

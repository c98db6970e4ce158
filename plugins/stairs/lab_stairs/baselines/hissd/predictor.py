"""HiSSD's prediction of the next state from common skills (hissd_agent.py, `MergeRec`)."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from lab_marl.episodes.layouts import Layout
from torch import Tensor, nn

from lab_stairs.baselines.acted_entities import acted_widths
from lab_stairs.baselines.objectives import swapped_attention


def small_net(inputs: int, outputs: int, hidden: int, *, squashed: bool) -> nn.Sequential:
    """Linear, ReLU, linear; squashed: then layer norm and tanh."""
    layers: list[nn.Module] = [nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, outputs)]
    if squashed:
        layers += [nn.LayerNorm(outputs), nn.Tanh()]
    return nn.Sequential(*layers)


class StatePredictor(nn.Module):
    """The next state's allies (with the present actions) and enemies, in (-1, 1).

    For each enemy the views of all agents are merged with a memory of that enemy; allies and
    merged enemies attend to each other, and an enemy's output is its next memory.
    """

    def __init__(self, layout: Layout, width: int, *, attention_width: int, hidden: int) -> None:
        super().__init__()
        ally_width, enemy_width = acted_widths(layout)
        self.own = nn.Linear(width, 2 * attention_width)
        self.views = nn.Linear(width, 2 * attention_width)
        self.merged = nn.Linear(width, 2 * attention_width)
        self.first_memory = nn.Parameter(torch.zeros(width))
        self.allies = small_net(width, ally_width, hidden, squashed=True)
        self.enemies = small_net(width, enemy_width, hidden, squashed=True)

    def forward(
        self, layout: Layout, skills: Float[Tensor, "rows n k d"], counts: Sequence[int]
    ) -> tuple[Float[Tensor, "rows n f"], Float[Tensor, "rows e g"]]:
        """Predictions from the skills at the tokens own, enemies, allies of each agent."""
        own = skills[:, :, 0]
        views = skills[:, :, 1 : 1 + layout.num_enemies].transpose(1, 2)
        whole = (own, self.own(own), views, self.views(views))
        parts = [part.split(list(counts)) for part in whole]
        memory = self.first_memory.expand(counts[0], layout.num_enemies, -1)
        outputs = []
        for a, b, c, d in zip(*parts, strict=True):
            outputs.append(self._step(a, b, c, d, memory[: a.shape[0]]))
            memory = outputs[-1][:, layout.num_agents :]
        merged = torch.cat(outputs)
        allies, enemies = merged.split([layout.num_agents, layout.num_enemies], 1)
        return self.allies(allies), self.enemies(enemies)

    def _step(
        self, own: Tensor, own_pair: Tensor, views: Tensor, view_pairs: Tensor, memory: Tensor
    ) -> Tensor:
        """(b, n + E, d): codes of allies and enemies after one time step."""
        query, key = self.views(memory)[:, :, None].chunk(2, -1)
        queries = torch.cat([query, view_pairs.chunk(2, -1)[0]], 2)
        seen = torch.cat([memory[:, :, None], views], 2)
        enemies = swapped_attention(queries, key, seen)[:, :, 0]
        queries, keys = torch.cat([own_pair, self.merged(enemies)], 1).chunk(2, -1)
        return swapped_attention(queries, keys, torch.cat([own, enemies], 1))

"""STAIRS-Former's network as an actor and as a critic of continuous actions.

The actor's action of a joint is read at that joint's token; its tokens hold the last actions. The
critic's joint tokens hold the actions that are to be valued; its value is read at the own token.
The critic's histories run over the actions that were taken, so that the value of another action at
one time asks for one step from the histories before it, and all times are valued at once.
"""

from collections.abc import Sequence

import torch
from lab_marl.environments.interface import Frame
from lab_marl.episodes.layouts import Layout
from lab_marl.training.entity_features import EntityFeatures
from torch import Tensor, nn

from lab_stairs.blocks import Weights, linear, stacked
from lab_stairs.config import NetworkConfig
from lab_stairs.mixer import AttentionMixer
from lab_stairs.network import Memory, StairsNetwork, advance, embed, start
from lab_stairs.policy import Episode, MemoryPolicy
from lab_stairs.td3_bc.config import TD3BCConfig


class ActorCritic(nn.Module):
    """Parameters of the actor, the two critics and the mixer of each."""

    def __init__(self, layout: Layout, config: TD3BCConfig) -> None:
        super().__init__()
        self.actor = StairsNetwork(layout, config.network, outputs=1)
        self.critics = nn.ModuleList(
            StairsNetwork(layout, config.network, outputs=1) for _ in range(2)
        )
        self.mixers = nn.ModuleList(AttentionMixer(layout, config.mixer) for _ in range(2))

    def critic_weights(self) -> Weights:
        """Both critics, side by side: S = 2."""
        return stacked(list(self.critics))

    def totals(self, layout: Layout, values: Tensor, state: Tensor) -> Tensor:
        """Q_tot (S, R) of the agents' values (S, R, n), each by its critic's mixer."""
        pairs = zip(self.mixers, values, strict=False)
        return torch.stack([mixer(layout, q, state) for mixer, q in pairs])


def joint_actions(weights: Weights, read: Tensor) -> Tensor:
    """Actions (S, rows, n, j) in [-1, 1]: tanh of the head at the joints' tokens."""
    return torch.tanh(linear(weights, "head", read[..., 1:, :]).squeeze(-1))


def agent_values(weights: Weights, read: Tensor) -> Tensor:
    """Q_i (S, rows, n): the head at the own token."""
    return linear(weights, "head", read[..., 0, :]).squeeze(-1)


def unroll_histories(
    weights: Weights,
    config: NetworkConfig,
    layout: Layout,
    features: EntityFeatures,
    counts: Sequence[int],
) -> tuple[Tensor, list[Memory]]:
    """Read tokens (S, rows, n, 1 + j, d) of packed rows, and the histories before each time step
    and after the last."""
    agents = layout.num_agents
    steps = embed(weights, layout, features).split([count * agents for count in counts], 1)
    memory = start(weights, steps[0].shape[1], config)
    read, memories = [], [memory]
    for time, tokens in enumerate(steps):
        before = memory.first(tokens.shape[1])
        out, memory = advance(weights, config, layout, tokens, before, time)
        read.append(out)
        memories.append(memory)
    return torch.cat(read, 1).unflatten(1, (-1, agents)), memories


def step_from(
    weights: Weights,
    config: NetworkConfig,
    layout: Layout,
    features: EntityFeatures,
    memories: Sequence[Memory],
    *,
    first: int,
) -> Tensor:
    """Read tokens (S, rows, n, 1 + j, d) of one step from each of the histories.

    `memories[k]` are those before time `first + k`, of as many agents as the rows of that time.
    Times at which the high-level history moves make one step of the network, all others another.
    """
    sizes = [memory.low.shape[1] for memory in memories]
    steps = embed(weights, layout, features).split(sizes, 1)
    read: list[Tensor] = list(steps)
    for like, moves in ((0, True), (1, False)):
        times = range(first, first + len(steps))
        chosen = [k for k, t in enumerate(times) if (t % config.high_step == 0) == moves]
        if not chosen:
            continue
        tokens = torch.cat([steps[k] for k in chosen], 1)
        memory = _joined([memories[k] for k in chosen])
        out, _ = advance(weights, config, layout, tokens, memory, like)
        for k, part in zip(chosen, out.split([sizes[k] for k in chosen], 1), strict=True):
            read[k] = part
    return torch.cat(read, 1).unflatten(1, (-1, layout.num_agents))


def _joined(memories: Sequence[Memory]) -> Memory:
    """The histories of all agents side by side."""
    highs = [memory.high for memory in memories if memory.high is not None]
    return Memory(torch.cat([m.low for m in memories], 1), torch.cat(highs, 1) if highs else None)


def histories_at(
    memories: Sequence[Memory], counts: Sequence[int], num_agents: int
) -> list[Memory]:
    """The first critic's histories before each transition; they carry no gradient.

    `counts` are the transitions at each time.
    """
    kept = []
    for memory, count in zip(memories, counts, strict=False):
        part = memory.first(count * num_agents)
        high = None if part.high is None else part.high[:1].detach()
        kept.append(Memory(part.low[:1].detach(), high))
    return kept


def draw_kept_joints(
    layout: Layout, rows: int, *, probability: float, device: torch.device
) -> Tensor:
    """Token dropout (rows, n, k), False at dropped tokens, in the order own, enemies, allies.

    The own token and the joints that the agent moves, at which actions are read, always stay.
    """
    read = 1 + layout.enemies.count
    drawn = torch.rand(rows, layout.num_agents, read + layout.allies.count, device=device)
    keep = drawn >= probability
    keep[..., :read] = True
    return keep


class ActorEpisode(Episode):
    """One batch of episodes played by an actor's weights (S = 1)."""

    def choose(self, read: Tensor, frame: Frame) -> tuple[Tensor, Tensor]:
        """Actions [E, n, j] float32, twice: tokens hold them as they are."""
        actions = joint_actions(self.weights, read)[0].clamp(-1, 1)
        return actions, actions


class ActorPolicy(MemoryPolicy):
    """The actor's actions without noise, histories carried along each episode."""

    plays = ActorEpisode

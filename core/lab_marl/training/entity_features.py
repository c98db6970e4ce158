"""From flat observations to one feature vector for each entity (arXiv 2603.11691, input)."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from labrun.errors import LabError
from torch import Tensor

from lab_marl.episodes.batches import Batch
from lab_marl.episodes.layouts import EntityBlock, Layout


@dataclass(frozen=True)
class EntityFeatures:
    """Inputs of the three embeddings, for each row (a time step of an episode) and agent."""

    own: Tensor
    """(rows, n, f): own features, code of the agent's number, last action."""
    enemies: Tensor
    """(rows, n, E, f): where the task has attacks, with one bit "my last action attacked it"."""
    allies: Tensor
    """(rows, n, A, f)."""


def own_width(layout: Layout, id_bits: int) -> int:
    """Width of `EntityFeatures.own`."""
    if layout.continuous:
        return layout.own_width + id_bits
    return layout.own_width + id_bits + layout.num_non_attack + int(layout.attacks)


def enemy_width(layout: Layout) -> int:
    """Width of `EntityFeatures.enemies`."""
    return layout.enemies.width + int(layout.attacks or layout.continuous)


def check_ids(layout: Layout, bits: int) -> None:
    """Raises LabError where the task has more agents than binary codes of `bits` bits number.

    Agents are numbered from 1, so 4 bits number 15 of them.
    """
    most = 2**bits - 1
    if layout.num_agents > most:
        raise LabError(
            f"task {layout.task!r} has {layout.num_agents} agents, id_bits={bits} numbers at most "
            f"{most}; set id_bits={layout.num_agents.bit_length()} or leave the task out"
        )


def agent_codes(
    num_agents: int, bits: int, device: torch.device | None = None
) -> Float[Tensor, "n bits"]:
    """Binary code of each agent's number, counted from 1, most significant bit first."""
    numbers = torch.arange(1, num_agents + 1, device=device)[:, None]
    return ((numbers >> torch.arange(bits - 1, -1, -1, device=device)) & 1).float()


def last_actions(batch: Batch) -> Tensor:
    """(T, B, n, a): one-hot (or, continuous, the numbers of the) action one step before.

    Zeros at t = 0, and after a frame that is padding.
    """
    if batch.layout.continuous:
        shown = batch.actions * batch.filled[..., None, None]
    else:
        numbers = torch.arange(batch.layout.num_actions, device=batch.actions.device)
        shown = (batch.actions[..., None] == numbers).float()
        shown = shown * batch.filled[..., None, None]
    return torch.cat([torch.zeros_like(shown[:1]), shown[:-1]])


def compact_actions(
    layout: Layout, actions: Float[Tensor, "*batch n a"]
) -> Float[Tensor, "*batch n m"]:
    """The non-attack part of one-hot actions, then, where there are attacks, one bit "attacked"."""
    moves = actions[..., : layout.num_non_attack]
    if not layout.attacks:
        return moves
    return torch.cat([moves, actions[..., layout.num_non_attack :].sum(-1, keepdim=True)], -1)


def entity_features(
    layout: Layout,
    obs: Float[Tensor, "rows n o"],
    last: Float[Tensor, "rows n a"],
    *,
    id_bits: int,
) -> EntityFeatures:
    """Every entity's input features; `last` holds the agents' last actions."""
    codes = (
        agent_codes(layout.num_agents, id_bits, obs.device)
        .to(obs.dtype)
        .expand(obs.shape[0], -1, -1)
    )
    own = [*(obs[..., start:stop] for start, stop in layout.own), codes]
    enemies = _entities(obs, layout.enemies)
    if layout.continuous:
        enemies = torch.cat([enemies, last[..., None]], -1)
    else:
        own.append(compact_actions(layout, last))
    if layout.attacks:
        attacked = last[..., layout.num_non_attack :, None]
        enemies = torch.cat([enemies, attacked], -1)
    return EntityFeatures(torch.cat(own, -1), enemies, _entities(obs, layout.allies))


def state_entities(
    layout: Layout, state: Float[Tensor, "rows s"]
) -> tuple[Float[Tensor, "rows n fa"], Float[Tensor, "rows E fe"]]:
    """Allies' and enemies' parts of the state; allies get their last actions where it has them."""
    allies = _entities(state, layout.state_allies)
    if layout.state_actions is not None:
        stop = layout.state_actions + layout.num_agents * layout.num_actions
        last = state[:, layout.state_actions : stop].unflatten(-1, (layout.num_agents, -1))
        allies = torch.cat([allies, compact_actions(layout, last)], -1)
    return allies, _entities(state, layout.state_enemies)


def state_ally_width(layout: Layout) -> int:
    """Width of the allies' part that `state_entities` gives."""
    if layout.state_actions is None:
        return layout.state_allies.width
    return layout.state_allies.width + layout.num_non_attack + int(layout.attacks)


def _entities(values: Tensor, block: EntityBlock) -> Tensor:
    return values[..., block.start : block.stop].unflatten(-1, (block.count, block.width))

"""Entities of the state with what the agents do to them, as ODIS and HiSSD read them."""

import torch
from jaxtyping import Float
from lab_marl.episodes.layouts import Layout
from lab_marl.training.entity_features import compact_actions, state_ally_width, state_entities
from torch import Tensor


def acted_entities(
    layout: Layout, state: Float[Tensor, "rows s"], actions: Float[Tensor, "rows n a"]
) -> tuple[Float[Tensor, "rows n f"], Float[Tensor, "rows e g"]]:
    """The state's allies with their present actions (one-hot, compact), and its enemies with one
    bit, where the task has attacks, "an agent attacks it now"."""
    allies, enemies = state_entities(layout, state)
    allies = torch.cat([allies, compact_actions(layout, actions)], -1)
    if layout.attacks:
        attacked = actions[..., layout.num_non_attack :].amax(1)
        enemies = torch.cat([enemies, attacked[..., None]], -1)
    return allies, enemies


def acted_widths(layout: Layout) -> tuple[int, int]:
    """(f, g): the numbers of an ally and of an enemy in `acted_entities`."""
    bit = int(layout.attacks)
    return state_ally_width(layout) + layout.num_non_attack + bit, layout.state_enemies.width + bit

"""Layout of tasks that have SMAC's observation, state and actions.

Observation: 4 move features; for each enemy (can be attacked, distance, x, y, health, [shield],
[types]); for each ally (visible, distance, x, y, health, [shield], [types]); own (health, [shield],
[types]). State: for each ally (health, cooldown, x, y, [shield], [types]); for each enemy (health,
x, y, [shield], [types]); the agents' last actions, one-hot. Shields stand only for a side that has
them, types only where units differ. Source: oxwhirl/smac, starcraft2.py, its default options.
"""

from lab_marl.episodes.layouts import EntityBlock, Layout

NO_OP, STOP = 0, 1
MOVES = (2, 3, 4, 5)
"""Actions north, south, east, west."""
NUM_NON_ATTACK = 6


def smac_layout(
    task: str,
    *,
    family: str,
    allies: int,
    enemies: int,
    episode_limit: int,
    types: int = 0,
    ally_shields: bool = False,
    enemy_shields: bool = False,
    own_extra: int = 0,
) -> Layout:
    """The layout of `allies` agents against `enemies`.

    `types` counts the bits of the unit type, `own_extra` further own features at the end of the
    observation (SMACv2 has 2, the agent's position).
    """
    ally, enemy = types + ally_shields, types + enemy_shields
    enemy_block = EntityBlock(len(MOVES), enemies, 5 + enemy)
    ally_block = EntityBlock(enemy_block.stop, allies - 1, 5 + ally)
    obs_size = ally_block.stop + 1 + ally + own_extra
    state_allies = EntityBlock(0, allies, 4 + ally)
    state_enemies = EntityBlock(state_allies.stop, enemies, 3 + enemy)
    return Layout(
        task=task,
        family=family,
        num_agents=allies,
        num_enemies=enemies,
        num_non_attack=NUM_NON_ATTACK,
        attacks=True,
        obs_size=obs_size,
        state_size=state_enemies.stop + allies * (NUM_NON_ATTACK + enemies),
        own=((0, len(MOVES)), (ally_block.stop, obs_size)),
        allies=ally_block,
        enemies=enemy_block,
        state_allies=state_allies,
        state_enemies=state_enemies,
        episode_limit=episode_limit,
        state_actions=state_enemies.stop,
    )

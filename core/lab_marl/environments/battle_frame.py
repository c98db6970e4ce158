"""What a battle shows: SMAC's masks, observations and state, from the units' arrays."""

from dataclasses import dataclass

import numpy as np

from lab_marl.environments.interface import Frame
from lab_marl.environments.smac_layout import MOVES, NO_OP, NUM_NON_ATTACK, STOP
from lab_marl.environments.units import UNITS, Map
from lab_marl.episodes.layouts import EntityBlock, Layout

SIGHT, ATTACK_RANGE = 9.0, 6.0
"""Centre to centre, for every unit. A unit sent against an enemy within ATTACK_RANGE but past its
weapon's reach walks there."""
POSITION_SCALE = 28.0
"""Cells that the state shows as 1."""
HALF_WIDTH, HALF_HEIGHT = 14.0, 9.0
"""The field, around its centre (real 3m: no move east past 13, none south past -8)."""
MOVE_ROOM = 1.0
"""Cells that must be free up to the field's edge for a move."""
DIRECTIONS = np.array([[0, 1], [0, -1], [1, 0], [-1, 0]], np.float32)
"""(x, y) of each move action."""


@dataclass
class Armies:
    """The units of E battles, each array [E, N] float32: agents first, then enemies."""

    x: np.ndarray
    y: np.ndarray
    health: np.ndarray
    """0: dead."""
    shield: np.ndarray
    cooldown: np.ndarray
    """Seconds to the next attack; below 0 within the step in which it became ready."""


@dataclass(frozen=True)
class Sight:
    """The units of one side, as each agent sees them; [E, n, units] float32 or bool."""

    dx: np.ndarray
    dy: np.ndarray
    distance: np.ndarray
    visible: np.ndarray
    """In sight and alive, seen by an agent that is alive."""


class Views:
    """Frames of one map."""

    def __init__(self, layout: Layout, battle: Map) -> None:
        n = layout.num_agents
        kinds = battle.allies + battle.enemies
        units = [UNITS[kind] for kind in kinds]
        assert layout.state_actions is not None
        self.layout = layout
        self.actions = EntityBlock(layout.state_actions, n, layout.num_actions)
        self.health = np.array([unit.health for unit in units], np.float32)
        self.shield = np.array([unit.shield for unit in units], np.float32)
        self.cooldown = np.array([unit.cooldown_scale_s for unit in units], np.float32)
        # SMAC numbers the enemies' types the other way round.
        orders = [battle.types] * n + [battle.types[::-1]] * layout.num_enemies
        bits = [
            [kind == other for other in order] for kind, order in zip(kinds, orders, strict=True)
        ]
        self.types = np.array(bits, np.float32)
        # Units that each agent sees, in the order of its observation.
        self.allies = np.array([[j for j in range(n) if j != i] for i in range(n)])
        self.enemies = np.arange(n, len(kinds))[None]

    def show(self, armies: Armies, last: np.ndarray | None) -> tuple[Frame, np.ndarray]:
        """The frame after the actions `last` [E, n], None at the start; and the distances of
        agents and enemies [E, n, m]."""
        alive = armies.health > 0
        enemies = self._sight(armies, alive, self.enemies)
        avail = self._avail(armies, alive, enemies.distance)
        condition = self._condition(armies, alive)
        obs = self._obs(avail, condition, enemies, self._sight(armies, alive, self.allies))
        return Frame(obs, self._state(armies, condition, last), avail), enemies.distance

    def _sight(self, armies: Armies, alive: np.ndarray, units: np.ndarray) -> Sight:
        n = self.layout.num_agents
        dx = armies.x[:, units] - armies.x[:, :n, None]
        dy = armies.y[:, units] - armies.y[:, :n, None]
        distance = np.sqrt(dx * dx + dy * dy)
        return Sight(dx, dy, distance, (distance < SIGHT) & alive[:, units] & alive[:, :n, None])

    def _avail(self, armies: Armies, alive: np.ndarray, distance: np.ndarray) -> np.ndarray:
        n = self.layout.num_agents
        agents = alive[:, :n]
        avail = np.empty((*agents.shape, self.layout.num_actions), bool)
        avail[..., NO_OP] = ~agents
        avail[..., STOP] = agents
        for action, (x, y) in zip(MOVES, DIRECTIONS, strict=True):
            room = HALF_WIDTH - x * armies.x[:, :n] if x else HALF_HEIGHT - y * armies.y[:, :n]
            avail[..., action] = agents & (room >= MOVE_ROOM)
        both = agents[:, :, None] & alive[:, None, n:]
        avail[..., NUM_NON_ATTACK:] = both & (distance <= ATTACK_RANGE)
        return avail

    def _obs(
        self, avail: np.ndarray, condition: np.ndarray, enemies: Sight, allies: Sight
    ) -> np.ndarray:
        count, n, _ = avail.shape
        obs = np.empty((count, n, self.layout.obs_size), np.float32)
        obs[..., : len(MOVES)] = avail[..., MOVES[0] : MOVES[-1] + 1]
        slots = _slots(obs, self.layout.enemies)
        slots[..., 0] = avail[..., NUM_NON_ATTACK:]
        _describe(slots, enemies, condition[:, self.enemies])
        slots = _slots(obs, self.layout.allies)
        slots[..., 0] = allies.visible
        _describe(slots, allies, condition[:, self.allies])
        obs[..., self.layout.allies.stop :] = condition[:, :n]
        return obs

    def _condition(self, armies: Armies, alive: np.ndarray) -> np.ndarray:
        """[E, N, 1 + shield + types]: health, shield and type of each unit, 0 of the dead."""
        parts: list[np.ndarray] = [(armies.health / self.health)[..., None]]
        if self.shield.any():
            parts.append((armies.shield / self.shield)[..., None])
        if self.types.shape[1]:
            parts.append(alive[..., None] * self.types)
        return np.concatenate(parts, axis=-1) if len(parts) > 1 else parts[0]

    def _state(self, armies: Armies, condition: np.ndarray, last: np.ndarray | None) -> np.ndarray:
        n = self.layout.num_agents
        state = np.zeros((len(condition), self.layout.state_size), np.float32)
        alive = armies.health > 0
        x, y, ready = armies.x / POSITION_SCALE, armies.y / POSITION_SCALE, armies.cooldown
        places = np.stack([x, y], axis=-1) * alive[..., None]
        allies = _slots(state, self.layout.state_allies)
        allies[..., 1] = np.maximum(ready[:, :n], 0) / self.cooldown[:n] * alive[:, :n]
        allies[..., 2:4] = places[:, :n]
        enemies = _slots(state, self.layout.state_enemies)
        enemies[..., 1:3] = places[:, n:]
        for slots, side in ((allies, condition[:, :n]), (enemies, condition[:, n:])):
            slots[..., 0] = side[..., 0]
            slots[..., slots.shape[-1] - side.shape[-1] + 1 :] = side[..., 1:]
        if last is not None:
            np.put_along_axis(_slots(state, self.actions), last[..., None], 1, axis=-1)
        return state


def _slots(vectors: np.ndarray, block: EntityBlock) -> np.ndarray:
    """A view [..., count, width] of the block's entities in vectors [..., size]."""
    part = vectors[..., block.start : block.stop]
    return part.reshape(*part.shape[:-1], block.count, block.width)


def _describe(slots: np.ndarray, sight: Sight, condition: np.ndarray) -> None:
    """Writes distance, x, y and condition of the visible units after the slots' first number."""
    scale = sight.visible * np.float32(1 / SIGHT)
    slots[..., 1] = sight.distance * scale
    slots[..., 2] = sight.dx * scale
    slots[..., 3] = sight.dy * scale
    slots[..., 4:] = condition * sight.visible[..., None]

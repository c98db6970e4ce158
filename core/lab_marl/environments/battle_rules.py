"""How the units of a battle aim, walk, shoot and make room, for E battles at once."""

import math
from collections.abc import Callable, Sequence

import numpy as np

from lab_marl.environments.battle_frame import DIRECTIONS, HALF_HEIGHT, HALF_WIDTH, Armies
from lab_marl.environments.smac_layout import MOVES, NUM_NON_ATTACK
from lab_marl.environments.units import UNITS, Map, Unit

STEP_S = 0.5
"""Seconds of a step: 8 game loops at 16 a second."""
SUBSTEPS = 4
MOVE_AMOUNT = 2.0
"""Cells that a move orders; a step is too short to walk them all."""
SPAWN_X = 7.0
"""Distance of each team's place from the field's centre (as in 3m)."""
CROWDING = 0.92
"""Of the sum of two radii: how near units may stand (3m's marines: 0.69 for 2 x 0.375)."""
NOTICE = 10.0
"""Distance at which an enemy turns from its walk to an agent."""
LEASH = 1.5
"""Cells past its reach at which an enemy leaves its target for the nearest agent."""
SLACK = 1e-3
"""Cells within which a unit has arrived."""
MIN_DAMAGE = 0.5
"""Of a hit, whatever the armor."""


class Rules:
    """One map's rules. Arrays are [E, N], agents before enemies; units after nothing have target
    -1. Shields are worn down before health; armor counts against both."""

    def __init__(
        self, battle: Map, num_envs: int, *, enemy_cooldown: float, reaction_s: float
    ) -> None:
        units = [UNITS[kind] for kind in battle.allies + battle.enemies]
        total, self.num_agents = len(units), len(battle.allies)
        self.reaction_s = reaction_s
        self.speed = np.array([unit.speed for unit in units], np.float32)
        self.radius = np.array([unit.radius for unit in units], np.float32)
        self.cooldown = np.array([unit.cooldown_s for unit in units], np.float32)
        self.cooldown[self.num_agents :] *= enemy_cooldown
        self.contact = _table(units, lambda one, other: one.radius + one.reach + other.radius)
        """[N * N] centre to centre distance at which unit i attacks unit j."""
        self.damage = _table(units, attack_damage)
        self.row = np.arange(total) * total
        self.first = np.arange(num_envs)[:, None] * total
        self.pairs = np.triu_indices(total, 1)
        self.room = CROWDING * (self.radius[self.pairs[0]] + self.radius[self.pairs[1]])

    def aim(
        self, armies: Armies, targets: np.ndarray, distance: np.ndarray, actions: np.ndarray
    ) -> np.ndarray:
        """New targets. An enemy keeps a living one within its leash, else takes the nearest agent
        it notices; turning costs it its reaction time. `distance` [E, n, m] is centre to centre."""
        n = self.num_agents
        aimed = np.where(actions >= NUM_NON_ATTACK, n + actions - NUM_NON_ATTACK, -1)
        away = np.where(armies.health[:, None, :n] > 0, distance.swapaxes(1, 2), np.inf)
        current = targets[:, n:]
        held = np.maximum(current, 0)
        leash = self.contact[self.row[n:] + held] + LEASH
        keeps = np.take_along_axis(away, held[..., None], axis=-1)[..., 0] <= leash
        nearest = np.where(away.min(-1) <= NOTICE, away.argmin(-1), -1)
        chosen = np.where(keeps & (current >= 0), current, nearest)
        ready = armies.cooldown[:, n:]
        turns = (chosen != current) & (chosen >= 0)
        armies.cooldown[:, n:] = np.where(turns, np.maximum(ready, self.reaction_s), ready)
        return np.concatenate([aimed, chosen], axis=1)

    def fight(
        self, armies: Armies, targets: np.ndarray, actions: np.ndarray, live: np.ndarray
    ) -> None:
        """One step of walking and shooting of the battles that are `live`; changes `armies`."""
        n = self.num_agents
        after, held = targets >= 0, np.maximum(targets, 0)
        flat, entry = self.first + held, self.row + held
        contact, damage = self.contact[entry], self.damage[entry]
        moves = (actions >= MOVES[0]) & (actions <= MOVES[-1])
        walks = np.concatenate([moves, ~after[:, n:]], axis=1) & live[:, None]
        goal_x, goal_y = self._goals(armies, actions, moves)
        elapsed = np.float32(STEP_S / SUBSTEPS)
        for _ in range(SUBSTEPS):
            alive = armies.health > 0
            hunts = after & alive & alive.ravel()[flat] & live[:, None]
            dx = np.where(hunts, armies.x.ravel()[flat], goal_x) - armies.x
            dy = np.where(hunts, armies.y.ravel()[flat], goal_y) - armies.y
            distance = np.sqrt(dx * dx + dy * dy)
            gap = distance - contact * hunts
            stride = np.clip(gap, 0, self.speed * elapsed) * (hunts | (walks & alive))
            share = stride / np.maximum(distance, SLACK)
            armies.x += dx * share
            armies.y += dy * share
            # What is left of a cooldown that ended within the substep counts for the next attack.
            armies.cooldown = np.maximum(armies.cooldown - elapsed, -elapsed)
            fires = hunts & (gap <= SLACK) & (armies.cooldown <= 0)
            if fires.any():
                armies.cooldown += self.cooldown * fires
                _hit(armies, flat[fires], damage[fires])

    def part(self, armies: Armies, live: np.ndarray) -> None:
        """Pushes apart living units that stand too near, and keeps them on the field."""
        one, other = self.pairs
        dx = armies.x[:, one] - armies.x[:, other]
        dy = armies.y[:, one] - armies.y[:, other]
        alive = (armies.health > 0) & live[:, None]
        near = (dx * dx + dy * dy < self.room**2) & alive[:, one] & alive[:, other]
        row, pair = np.nonzero(near)
        # Units on one spot part along x.
        dx, dy = dx[near] + SLACK, dy[near]
        distance = np.sqrt(dx * dx + dy * dy)
        push = np.maximum(self.room[pair] - distance, 0) / (2 * np.maximum(distance, SLACK))
        first = self.first[row, 0]
        for place, shift in ((armies.x, dx * push), (armies.y, dy * push)):
            flat = place.ravel()
            flat += np.bincount(first + one[pair], shift, minlength=flat.size)
            flat -= np.bincount(first + other[pair], shift, minlength=flat.size)
        np.clip(armies.x, -HALF_WIDTH, HALF_WIDTH, out=armies.x)
        np.clip(armies.y, -HALF_HEIGHT, HALF_HEIGHT, out=armies.y)

    def _goals(
        self, armies: Armies, actions: np.ndarray, moves: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Where units without a target walk: agents as told, enemies to the team's place."""
        n = self.num_agents
        ordered = np.where(moves, actions - MOVES[0], 0)
        x, y = np.full_like(armies.x, -SPAWN_X), np.zeros_like(armies.y)
        x[:, :n] = armies.x[:, :n] + MOVE_AMOUNT * DIRECTIONS[ordered, 0]
        y[:, :n] = armies.y[:, :n] + MOVE_AMOUNT * DIRECTIONS[ordered, 1]
        return x, y


def attack_damage(one: Unit, other: Unit) -> float:
    """Damage of one attack of `one` on `other`: all its hits, each less the armor."""
    hit = one.damage + one.bonus * other.armored - other.armor
    return one.hits * max(hit, MIN_DAMAGE)


def formation(count: int) -> np.ndarray:
    """[count, 2] places in a square around (0, 0), one apart, from the back column on."""
    side = math.ceil(math.sqrt(count))
    places = np.stack(np.divmod(np.arange(count), side), axis=-1)
    return places - (side - 1) / 2


def _table(units: Sequence[Unit], value: Callable[[Unit, Unit], float]) -> np.ndarray:
    return np.array([value(one, other) for one in units for other in units], np.float32)


def _hit(armies: Armies, flat: np.ndarray, damage: np.ndarray) -> None:
    """All attacks of one moment: `damage` on the units at `flat` of the flattened arrays."""
    total = np.bincount(flat, damage, minlength=armies.health.size).astype(np.float32)
    total = total.reshape(armies.health.shape)
    absorbed = np.minimum(total, armies.shield)
    armies.shield -= absorbed
    armies.health = np.maximum(armies.health - (total - absorbed), 0)

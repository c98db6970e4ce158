"""Play of SMAX battles: JaxMARL's own heuristic policy, and scripted focus fire."""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from labrun.errors import unknown

from lab_marl.behaviours.noise import noisy
from lab_marl.environments.interface import Actor, Frame
from lab_marl.environments.smax.battles import SmaxEnv
from lab_marl.environments.smax.scenarios import NUM_NON_ATTACK, STOP
from lab_marl.episodes.layouts import EntityBlock

Kind = Literal["focus", "heuristic"]
CLOSENESS = 0.01
"""Share of its health that a cell of distance counts for when the weakest enemy is chosen."""
WEAK, DANGER = 0.3, 5.5
"""Share of health below which an agent steps back from an enemy that is nearer than this, in cells,
while its weapon is not ready."""
DIRECTIONS = np.array([[0, 1], [1, 0], [0, -1], [-1, 0]], np.float32)
"""(x, y) of the move actions up, right, down, left."""
STRIDE = 2.1
"""Cells that a move leads at most."""
FIELD = 32


@dataclass(frozen=True)
class Units:
    """One side of E battles, by the state."""

    health: np.ndarray
    """[E, units] share; 0: fallen."""
    places: np.ndarray
    """[E, units, 2] in cells."""
    cooldown: np.ndarray
    """[E, units] share that is left until the next attack."""


def start(
    env: SmaxEnv, *, kind: Kind = "focus", epsilon: float = 0.0, rng: np.random.Generator
) -> Actor:
    """Agents shoot at an enemy in range, else walk to the nearest one.

    `heuristic`: as JaxMARL's enemies play, at the closest until it falls or gets away, and only
    after enemies in sight. `focus`, by the state: at the one with the least share of health, and
    after the nearest wherever it is; an agent that is weak steps back behind stronger ones while
    its weapon is not ready. Each agent's action is drawn uniformly instead with probability
    `epsilon`.
    """
    if kind not in get_args(Kind):
        raise unknown("kind of SMAX behaviour", kind, get_args(Kind))
    if kind == "heuristic":
        return noisy(lambda frame, live: env.heuristic_actions(), epsilon=epsilon, rng=rng)

    def act(frame: Frame, live: np.ndarray) -> np.ndarray:
        agents = _units(frame.state, env.layout.state_allies)
        enemies = _units(frame.state, env.layout.state_enemies)
        return _focus(agents, enemies, frame.avail_actions[..., NUM_NON_ATTACK:])

    return noisy(act, epsilon=epsilon, rng=rng)


def _focus(agents: Units, enemies: Units, attack: np.ndarray) -> np.ndarray:
    """[E, n] actions; `attack` [E, n, m] says whom each agent's weapon reaches."""
    away = enemies.places[:, None] - agents.places[:, :, None]
    distance = np.linalg.norm(away, axis=-1)
    target = np.where(attack, enemies.health[:, None] + CLOSENESS * distance, np.inf).argmin(-1)
    distance = np.where(enemies.health[:, None] > 0, distance, np.inf)
    path = np.take_along_axis(away, distance.argmin(-1)[..., None, None], axis=2)[:, :, 0]
    walk, back = (path @ DIRECTIONS.T).argmax(-1), (path @ DIRECTIONS.T).argmin(-1)
    behind = agents.places + STRIDE * DIRECTIONS[back]
    flees = (agents.health < WEAK) & (agents.cooldown > 0) & (distance.min(-1) < DANGER)
    flees &= (agents.health >= WEAK).any(-1, keepdims=True)  # for a comrade who can take it
    flees &= ((behind > 0) & (behind < FIELD)).all(-1)  # walls kill
    actions = np.where(attack.any(-1), NUM_NON_ATTACK + target, walk)
    return np.where(agents.health > 0, np.where(flees, back, actions), STOP)


def _units(state: np.ndarray, block: EntityBlock) -> Units:
    rows = state[:, block.start : block.stop].reshape(len(state), block.count, block.width)
    return Units(health=rows[..., 0], places=FIELD * rows[..., 1:3], cooldown=rows[..., 3])

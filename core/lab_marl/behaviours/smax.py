"""Play of SMAX battles: JaxMARL's own heuristic policy, and scripted focus fire."""

from typing import Literal, get_args

import numpy as np
from labrun.errors import unknown

from lab_marl.behaviours.noise import noisy
from lab_marl.environments.interface import Actor, Frame
from lab_marl.environments.smax.battles import SmaxEnv
from lab_marl.environments.smax.scenarios import NUM_NON_ATTACK, STOP
from lab_marl.episodes.layouts import Block

Kind = Literal["focus", "heuristic"]
CLOSENESS = 0.01
"""Share of its health that a cell of distance counts for when the weakest enemy is chosen."""
DIRECTIONS = np.array([[0, 1], [1, 0], [0, -1], [-1, 0]], np.float32)
"""(x, y) of the move actions up, right, down, left."""


def start(
    env: SmaxEnv, *, kind: Kind = "focus", epsilon: float = 0.0, rng: np.random.Generator
) -> Actor:
    """Agents shoot at an enemy in range, else walk to the nearest one.

    `heuristic`: as JaxMARL's enemies play, at the closest until it falls or gets away, and only
    after enemies in sight. `focus`: at the one with the least share of health, and the nearest
    wherever it is, by the state. Each agent's action is drawn uniformly instead with probability
    `epsilon`.
    """
    if kind not in get_args(Kind):
        raise unknown("kind of SMAX behaviour", kind, get_args(Kind))
    if kind == "heuristic":
        return noisy(lambda frame, live: env.heuristic_actions(), epsilon=epsilon, rng=rng)

    def act(frame: Frame, live: np.ndarray) -> np.ndarray:
        agents = _units(frame.state, env.layout.state_allies)
        enemies = _units(frame.state, env.layout.state_enemies)
        away = enemies[:, None, :, 1:3] - agents[:, :, None, 1:3]
        distance = np.linalg.norm(away, axis=-1)
        health = enemies[:, None, :, 0]
        attack = frame.avail_actions[..., NUM_NON_ATTACK:]
        target = np.where(attack, health + CLOSENESS * distance, np.inf).argmin(-1)
        nearest = np.where(health > 0, distance, np.inf).argmin(-1)
        path = np.take_along_axis(away, nearest[..., None, None], axis=2)[:, :, 0]
        actions = (path @ DIRECTIONS.T).argmax(-1)
        actions = np.where(attack.any(-1), NUM_NON_ATTACK + target, actions)
        return np.where(agents[..., 0] > 0, actions, STOP)

    return noisy(act, epsilon=epsilon, rng=rng)


def _units(state: np.ndarray, block: Block) -> np.ndarray:
    """[E, units, f] of one side: share of health (0: fallen), x, y, cooldown, kind."""
    return state[:, block.start : block.stop].reshape(len(state), block.count, block.width)

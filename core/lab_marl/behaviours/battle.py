"""Scripted play of battles; it reads the environment's own positions and healths."""

from typing import Literal, get_args

import numpy as np
from labrun.errors import unknown

from lab_marl.behaviours.noise import noisy
from lab_marl.environments.battle import BattleEnv
from lab_marl.environments.battle_frame import DIRECTIONS
from lab_marl.environments.interface import Actor, Frame
from lab_marl.environments.smac_layout import MOVES, NO_OP, NUM_NON_ATTACK, STOP

Kind = Literal["focus", "nearest"]
CLOSENESS = 0.05
"""Points of health that a cell of distance counts for when the weakest enemy is chosen."""


def start(
    env: BattleEnv, *, kind: Kind = "focus", epsilon: float = 0.0, rng: np.random.Generator
) -> Actor:
    """Agents shoot at an enemy in range, else walk to the nearest one.

    `focus`: at the one with the least health and shield, the nearer one of equals. `nearest`: at
    the nearest. Each agent's action is drawn uniformly instead with probability `epsilon`.
    """
    if kind not in get_args(Kind):
        raise unknown("kind of battle behaviour", kind, get_args(Kind))

    def act(frame: Frame, live: np.ndarray) -> np.ndarray:
        armies, n = env.armies, env.layout.num_agents
        preference = env.distance
        if kind == "focus":
            strength = (armies.health + armies.shield)[:, None, n:]
            preference = strength + CLOSENESS * env.distance
        attack = frame.avail_actions[..., NUM_NON_ATTACK:]
        target = np.where(attack, preference, np.inf).argmin(-1)
        actions = np.where(attack.any(-1), NUM_NON_ATTACK + target, _walk(env, frame))
        return np.where(frame.avail_actions[..., NO_OP], NO_OP, actions)

    return noisy(act, epsilon=epsilon, rng=rng)


def _walk(env: BattleEnv, frame: Frame) -> np.ndarray:
    """[E, n] the allowed move that leads most towards the nearest living enemy."""
    armies, n = env.armies, env.layout.num_agents
    away = np.where(armies.health[:, None, n:] > 0, env.distance, np.inf)
    nearest = n + away.argmin(-1)
    dx = np.take_along_axis(armies.x, nearest, axis=1) - armies.x[:, :n]
    dy = np.take_along_axis(armies.y, nearest, axis=1) - armies.y[:, :n]
    along = np.stack([dx, dy], axis=-1) @ DIRECTIONS.T
    moves = frame.avail_actions[..., MOVES[0] : MOVES[-1] + 1]
    best = np.where(moves, along, -np.inf).argmax(-1)
    return np.where(moves.any(-1), MOVES[0] + best, STOP)

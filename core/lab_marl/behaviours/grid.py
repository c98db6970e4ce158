"""Scripted play of the grid task; it reads the environment's own positions."""

from typing import Literal, get_args

import numpy as np
from labrun.errors import unknown

from lab_marl.behaviours.noise import noisy
from lab_marl.environments.grid import MOVES, REACH, GridEnv
from lab_marl.environments.interface import Actor, Frame

Kind = Literal["planned", "nearest", "settled"]
NONE = 0
TIE = 0.5
"""Greatest noise on a distance in steps, so that equal plans are taken by chance: two agents that
block each other then swap their landmarks sooner or later."""
BLOCKED, CROWDED = 100.0, 0.6
"""Cost in steps of a cell that an agent before this one goes for, and of one where an agent after
it still stands."""


def start(
    env: GridEnv, *, kind: Kind = "planned", epsilon: float = 0.0, rng: np.random.Generator
) -> Actor:
    """Agents go for landmarks and keep out of each other's way.

    `planned`: each for its own landmark, with the least sum of steps, planned anew at each step.
    `nearest`: each for the nearest one, in whose reach it strolls about, so that a team often
    leaves landmarks out. `settled`: so too, but it stays where it first reaches one. Each agent's
    action is drawn uniformly instead with probability `epsilon`.
    """
    if kind not in get_args(Kind):
        raise unknown("kind of grid behaviour", kind, get_args(Kind))

    def act(frame: Frame, live: np.ndarray) -> np.ndarray:
        steps = steps_to_reach(env.agents[:, :, None], env.landmarks[:, None])
        cost = steps + rng.uniform(0, TIE, steps.shape)
        goals = _assigned(cost) if kind == "planned" else cost.argmin(-1)
        landmarks = np.take_along_axis(env.landmarks, goals[..., None], axis=1)
        actions = _moves(env, frame, landmarks, rng)
        return np.where(steps.min(-1) > 0, actions, NONE) if kind == "settled" else actions

    return noisy(act, epsilon=epsilon, rng=rng)


def steps_to_reach(cells: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """Moves after which a cell [..., 2] is within reach of a landmark, on an empty field."""
    return np.maximum(np.abs(cells - landmarks) - REACH, 0).sum(-1)


def _assigned(steps: np.ndarray) -> np.ndarray:
    """[E, n] a landmark of its own for each agent, the sum of steps least; of ended copies, too,
    whose last frame is recorded with an action."""
    from scipy.optimize import linear_sum_assignment

    return np.array([linear_sum_assignment(costs)[1] for costs in steps])


def _moves(
    env: GridEnv, frame: Frame, landmarks: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """[E, n] actions; agents choose one after the other, each avoiding the cells chosen so far."""
    count, n = landmarks.shape[:2]
    actions = np.zeros((count, n), np.int64)
    cells = env.agents.copy()
    for agent in range(n):
        options = env.agents[:, agent, None] + MOVES
        cost = steps_to_reach(options, landmarks[:, agent, None]) + rng.uniform(0, TIE, (count, 5))
        for other in range(n):
            taken = np.all(options == cells[:, other, None], axis=-1)
            cost += taken * (BLOCKED if other < agent else CROWDED if other > agent else 0)
        cost[~frame.avail_actions[:, agent]] = np.inf
        actions[:, agent] = cost.argmin(-1)
        cells[:, agent] = options[np.arange(count), actions[:, agent]]
    return actions

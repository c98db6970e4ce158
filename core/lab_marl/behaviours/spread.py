"""A scripted team for simple_spread: every agent takes a landmark of its own and stops on it."""

import numpy as np

from lab_marl.behaviours.noise import noisy
from lab_marl.environments.interface import Actor, Frame, VectorEnv
from lab_marl.episodes.layouts import Layout

TIERS = {"expert": 0.0, "medium": 0.5}
"""Share of random actions of each tier."""
COAST = 0.4
"""Seconds: a body of mpe2 that is pushed no more still moves by this times its velocity
(time step 0.1 over damping 0.25)."""
PUSH_REACH = 0.2
"""How far one push moves an agent in all: force 5 * time step 0.1 * `COAST`."""


def start(env: VectorEnv, *, epsilon: float, rng: np.random.Generator) -> Actor:
    """A team whose agents act at random with probability `epsilon`, each on its own."""
    return noisy(Team(env.layout), epsilon=epsilon, rng=rng)


class Team:
    """Assigns the landmarks once, at its first frame, so that the sum of distances is smallest."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.goals: np.ndarray | None = None

    def __call__(self, frame: Frame, live: np.ndarray) -> np.ndarray:
        agents, landmarks = state_entities(self.layout, frame.state)
        if self.goals is None:
            self.goals = assignment(agents[..., :2], landmarks)
        targets = np.take_along_axis(landmarks, self.goals[..., None], axis=1)
        return steer(targets - agents[..., :2], agents[..., 2:], dead_zone=PUSH_REACH / 2)


def state_entities(layout: Layout, state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[E, n, f] agents and [E, m, g] enemies of a batch of states."""
    blocks = (layout.state_allies, layout.state_enemies)
    agents, enemies = (
        state[:, block.start : block.stop].reshape(-1, block.count, block.width) for block in blocks
    )
    return agents, enemies


def assignment(agents: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """[E, n] landmark of each agent: the pairing [n, 2] to [n, 2] of least total distance."""
    from scipy.optimize import linear_sum_assignment

    distances = np.linalg.norm(agents[:, :, None] - landmarks[:, None], axis=-1)
    return np.array([linear_sum_assignment(costs)[1] for costs in distances])


def steer(error: np.ndarray, velocity: np.ndarray, *, dead_zone: float) -> np.ndarray:
    """mpe2's action for each body that wants to come to rest `error` [..., 2] away.

    It pushes along the axis on which it would stop furthest from there if it pushed no more, and
    not at all where that is within `dead_zone`.
    """
    left = error - COAST * velocity
    axis = np.abs(left).argmax(-1)
    along = np.take_along_axis(left, axis[..., None], axis=-1)[..., 0]
    push = 1 + 2 * axis + (along > 0)
    return np.where(np.abs(along) > dead_zone, push, 0)

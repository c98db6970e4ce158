"""A scripted pack for simple_tag: predators share the prey out and run to where it will be."""

import numpy as np

from lab_marl.behaviours.noise import noisy
from lab_marl.behaviours.spread import state_entities, steer
from lab_marl.environments.interface import Actor, Frame, VectorEnv

TIERS = {"expert": 0.0, "medium": 0.4}
"""Share of random actions of each tier."""
LEAD = 0.3
"""Seconds by which a predator leads its prey."""


def start(env: VectorEnv, *, epsilon: float, rng: np.random.Generator) -> Actor:
    """A pack whose predators act at random with probability `epsilon`, each on its own."""
    layout = env.layout

    def hunt(frame: Frame, live: np.ndarray) -> np.ndarray:
        predators, prey = state_entities(layout, frame.state)
        place, velocity = predators[..., :2], predators[..., 2:4]
        chosen = shared_out(place, prey[..., :2])
        meeting = prey[..., :2] + LEAD * prey[..., 2:]
        targets = np.take_along_axis(meeting, chosen[..., None], axis=1)
        return steer(targets - place, velocity, dead_zone=0.0)

    return noisy(hunt, epsilon=epsilon, rng=rng)


def shared_out(predators: np.ndarray, prey: np.ndarray) -> np.ndarray:
    """[E, P] prey of each predator: of least total distance, with at most P / Q hunters, rounded
    up, for each prey."""
    from scipy.optimize import linear_sum_assignment

    num_predators, num_prey = predators.shape[1], prey.shape[1]
    distances = np.linalg.norm(predators[:, :, None] - prey[:, None], axis=-1)
    rounds = -(-num_predators // num_prey)
    seats = np.tile(distances, (1, 1, rounds))
    return np.array([linear_sum_assignment(costs)[1] % num_prey for costs in seats])

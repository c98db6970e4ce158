"""Random actions, and noise on another actor's."""

import numpy as np

from lab_marl.environments.interface import Actor, Frame


def uniform(avail_actions: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """[E, n] actions drawn uniformly from the allowed ones [E, n, a]."""
    return np.where(avail_actions, rng.random(avail_actions.shape), -1.0).argmax(-1)


def noisy(actor: Actor, *, epsilon: float, rng: np.random.Generator) -> Actor:
    """The actor, but each agent's action is drawn uniformly with probability `epsilon`."""

    def act(frame: Frame, live: np.ndarray) -> np.ndarray:
        actions = actor(frame, live)
        swap = rng.random(actions.shape) < epsilon
        return np.where(swap, uniform(frame.avail_actions, rng), actions)

    return act

"""What every environment offers: a batch of copies that step together."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from lab_marl.episodes.layouts import Layout


@dataclass(frozen=True)
class Frame:
    """What E copies show before an action."""

    obs: np.ndarray
    """[E, n, o] float32."""
    state: np.ndarray
    """[E, s] float32."""
    avail_actions: np.ndarray
    """[E, n, a] bool; in a continuous task all True."""


@dataclass(frozen=True)
class Outcome:
    """What one step of E copies brought."""

    reward: np.ndarray
    """[E] float32, of the team."""
    terminated: np.ndarray
    """[E] bool."""
    truncated: np.ndarray
    """[E] bool: cut off at the episode limit without being over; never with `terminated`."""
    won: np.ndarray
    """[E] bool: this step reached the task's goal."""


class VectorEnv(Protocol):
    """`num_envs` copies of one task.

    A copy that has ended stays at its end: what it shows afterwards is finite and means nothing
    until the next `reset`.
    """

    @property
    def layout(self) -> Layout: ...

    @property
    def num_envs(self) -> int: ...

    def reset(self, seed: int) -> Frame:
        """Begin an episode in every copy; equal seeds give equal episodes."""
        ...

    def step(self, actions: np.ndarray) -> tuple[Frame, Outcome]:
        """Actions [E, n] int64, or [E, n, a] float32 in [-1, 1] where the task is continuous.

        An action that its mask forbids is an error of the caller (AssertionError).
        """
        ...


Actor = Callable[[Frame, np.ndarray], np.ndarray]
"""(frame, live [E] bool) -> actions, allowed ones of every copy. A copy that has just ended is not
live, and what the actor would do at its last frame is recorded; after that its rows are ignored.
One Actor plays one batch of episodes from their start and may keep memory."""


class Policy(Protocol):
    """A trained model, or a scripted behaviour that needs no more than its observations."""

    def start(self, layout: Layout, num_envs: int) -> Actor: ...

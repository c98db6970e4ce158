"""A batch of copies that step one after the other, for simulators that cannot be batched."""

from collections.abc import Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from io import StringIO
from typing import Any, Protocol

import numpy as np
from labrun.errors import LabError

from lab_marl.environments.interface import Frame, Outcome
from lab_marl.episodes.layouts import Layout

WITHOUT = "rollout.episodes=0 trains on the files of dataset.path without it"
"""What works where a simulator is missing."""


@dataclass(frozen=True)
class View:
    """What one copy shows before an action."""

    obs: np.ndarray
    """[n, o]."""
    state: np.ndarray
    """[s]."""
    avail_actions: np.ndarray
    """[n, a] bool."""


@dataclass(frozen=True)
class Result:
    """What one step of one copy brought; the episode limit is not the copy's business."""

    reward: float
    terminated: bool
    won: bool


class Single(Protocol):
    """One copy of a task."""

    def reset(self, seed: int) -> View: ...

    def step(self, actions: np.ndarray) -> tuple[View, Result]:
        """Actions [n] int64, or [n, a] float32 where the task is continuous."""
        ...


class SerialEnv:
    """The VectorEnv of given copies; cuts episodes off at the layout's limit.

    Copy i gets the i-th seed derived from the batch's seed, so that its episode does not depend on
    how many copies stand beside it. A copy that has ended is not stepped: it shows its last view.
    """

    def __init__(self, layout: Layout, copies: Sequence[Single]) -> None:
        self.layout, self.copies = layout, tuple(copies)
        self.num_envs = len(self.copies)
        self.views: list[View] = []
        self.live = np.zeros(self.num_envs, bool)
        self.time = 0

    def reset(self, seed: int) -> Frame:
        seeds = np.random.SeedSequence(seed).generate_state(self.num_envs)
        pairs = zip(self.copies, seeds, strict=True)
        self.views = [copy.reset(int(own_seed)) for copy, own_seed in pairs]
        self.live = np.ones(self.num_envs, bool)
        self.time = 0
        return self._frame()

    def step(self, actions: np.ndarray) -> tuple[Frame, Outcome]:
        self.time += 1
        reward = np.zeros(self.num_envs, np.float32)
        terminated, won = np.zeros(self.num_envs, bool), np.zeros(self.num_envs, bool)
        for i in np.flatnonzero(self.live):
            self._check(actions[i], self.views[i].avail_actions)
            self.views[i], result = self.copies[i].step(actions[i])
            reward[i], terminated[i], won[i] = result.reward, result.terminated, result.won
        truncated = self.live & ~terminated & (self.time >= self.layout.episode_limit)
        self.live = self.live & ~terminated & ~truncated
        return self._frame(), Outcome(reward, terminated, truncated, won)

    def _check(self, actions: np.ndarray, avail: np.ndarray) -> None:
        if self.layout.continuous:
            assert actions.shape == avail.shape, "actions of a wrong shape"
            assert np.all(np.abs(actions) <= 1), "an action outside [-1, 1]"
        else:
            assert avail[np.arange(len(avail)), actions].all(), "an action that the mask forbids"

    def _frame(self) -> Frame:
        return Frame(
            obs=np.stack([view.obs for view in self.views]).astype(np.float32, copy=False),
            state=np.stack([view.state for view in self.views]).astype(np.float32, copy=False),
            avail_actions=np.stack([view.avail_actions for view in self.views]),
        )


def simulator(module: str) -> Any:
    """A module of an optional package of the extra `marl`, imported when it is first needed."""
    package = module.partition(".")[0]
    if find_spec(package) is None:
        raise LabError(f"{package} is not installed; run: pip install 'labrun[marl]'; {WITHOUT}")
    with redirect_stderr(StringIO()):  # notices about environments that are not used here
        return import_module(module)

"""What a trainer and an evaluator get: episodes of the training tasks, and the tasks' names."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from lab_marl.episodes.buffered import BufferedEpisodes
from lab_marl.episodes.episodes import Episodes
from lab_marl.episodes.layouts import Layout

Timeouts = Literal["terminal", "bootstrap"]
"""What the end of an episode at its limit counts as: the end of the task, or a cut."""


@dataclass(frozen=True)
class TaskData:
    """The offline data of one task."""

    layout: Layout
    episodes: Episodes | BufferedEpisodes
    """In memory, or in their files."""


@dataclass(frozen=True)
class OfflineData:
    """Data of the training tasks; a test task has none, unless it is trained on too."""

    tasks: Mapping[str, TaskData]
    """By the name of each training task."""
    train_tasks: tuple[str, ...]
    test_tasks: tuple[str, ...]

    def seen(self, task: str) -> bool:
        """Whether the task is trained on; a test task that is not is zero-shot."""
        return task in self.train_tasks


def cut_off(episodes: Episodes, episode_limit: int, *, flagged: bool) -> np.ndarray:
    """[E, T] bool: the transitions at which an episode was cut off without being over.

    `flagged` data say so themselves. The last transition that the limit allows is also one where
    `terminated` is not set, whether the data are flagged or not; and in data without the flag where
    the reward is not positive: success is rewarded at the step that reaches it.
    """
    last = np.zeros_like(episodes.terminated)
    if last.shape[1] > episode_limit:
        last[:, episode_limit - 1] = episodes.filled[:, episode_limit]
    unended = last & ~episodes.terminated
    if flagged:
        return episodes.truncated | unended
    return unended | (last & (episodes.reward <= 0))


def end_at_timeouts(
    episodes: Episodes, episode_limit: int, *, timeouts: Timeouts, flagged: bool
) -> Episodes:
    """The episodes with `terminated` set (terminal) or cleared (bootstrap) where they were cut off.

    `truncated` marks these places afterwards, whether the data had the flag or not.
    """
    cut = cut_off(episodes, episode_limit, flagged=flagged)
    ended = episodes.terminated | cut if timeouts == "terminal" else episodes.terminated & ~cut
    return replace(episodes, terminated=ended, truncated=cut)

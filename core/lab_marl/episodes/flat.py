"""From steps one after the other, as other data sets keep them, to padded episodes."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from labrun.errors import LabError

from lab_marl.episodes.layouts import Layout

MEND = "mend it where the data were made"


@dataclass(frozen=True)
class Steps:
    """N transitions in the order in which they were played."""

    obs: np.ndarray
    """[N, n, o]."""
    state: np.ndarray
    """[N, s]."""
    actions: np.ndarray
    """[N, n], or [N, n, a] where the task is continuous."""
    avail_actions: np.ndarray
    """[N, n, a]."""
    reward: np.ndarray
    """[N], of the team."""
    terminated: np.ndarray
    """[N] bool: nothing comes after this transition."""
    truncated: np.ndarray
    """[N] bool: cut off after this transition."""
    notes: tuple[str, ...] = ()
    """What was made of them that a user should know."""


@dataclass(frozen=True)
class Padded:
    """Episodes by the published keys [E, T, ...]."""

    keys: dict[str, np.ndarray]
    notes: tuple[str, ...]


def groups(ends: np.ndarray, *, episodes: int) -> list[tuple[int, int]]:
    """[start, stop) of the steps of so many episodes each; `ends` [N] is True at a last step."""
    bounds = np.unique([0, *(np.flatnonzero(ends) + 1).tolist(), len(ends)])
    chosen = [*bounds[:-1:episodes].tolist(), int(bounds[-1])]
    return list(pairwise(chosen))


def padded(steps: Steps, layout: Layout) -> Padded:
    """The episodes, T = episode limit + 1.

    What was seen after the last transition is not kept in such data. Where the task was over, that
    frame is never valued, and repeats the one before. Where an episode was cut off, its last
    transition is left out, so that its last frame is one that was seen. Steps after the last end
    count as cut off.
    """
    ends = np.flatnonzero(steps.terminated | steps.truncated) + 1
    bounds = np.unique([0, *ends.tolist(), len(steps.reward)])
    spans = [
        (int(low), int(high), bool(steps.terminated[high - 1]))
        for low, high in pairwise(bounds)
        if high - low > 1 or steps.terminated[high - 1]
    ]
    # The longest, in frames: k steps give k + 1 if the task was over, else k.
    longest = max((high - low + over for low, high, over in spans), default=0)
    frames = max(longest, layout.episode_limit + 1)
    keys = {
        "obs": steps.obs,
        "state": steps.state,
        "actions": steps.actions,
        "avail_actions": steps.avail_actions,
    }
    made: dict[str, np.ndarray] = {
        key: np.zeros((len(spans), frames, *values.shape[1:]), values.dtype)
        for key, values in keys.items()
    }
    for key, dtype in (("reward", np.float32), ("terminated", np.uint8), ("truncated", np.uint8)):
        made[key] = np.zeros((len(spans), frames, 1), dtype)
    made["filled"] = np.zeros((len(spans), frames, 1), np.uint8)
    for row, (low, high, over) in enumerate(spans):
        index = np.arange(low, high)
        seen = np.append(index, high - 1) if over else index
        for key, values in keys.items():
            made[key][row, : len(seen)] = values[seen]
        moves = len(seen) - 1
        made["reward"][row, :moves, 0] = steps.reward[low : low + moves]
        made["terminated" if over else "truncated"][row, moves - 1] = 1
        made["filled"][row, : len(seen)] = 1
    return Padded(made, steps.notes)


def team_reward(rewards: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """[N] mean over the agents of rewards [N, n], and a note where they differ: a team's reward is
    the same for each."""
    by_agent = rewards.reshape(len(rewards), -1)
    with np.errstate(invalid="ignore", over="ignore"):  # what is no number is refused later
        mean = by_agent.mean(1)
    differ = int((by_agent != by_agent[:, :1]).any(1).sum())
    note = f"rewards of the agents differ at {differ} of {len(mean)} steps: their mean is taken"
    return mean, (note,) if differ else ()


def check_flags(values: np.ndarray, *, where: object, first: int = 0) -> None:
    """Raises LabError where values [N, ...] are neither 0 nor 1; `where` is their file and key, and
    `first` the number of the first step."""
    bad = (values != 0) & (values != 1)
    if bad.any():
        step, *rest = (int(i) for i in np.argwhere(bad)[0])
        found = values[(step, *rest)]
        raise LabError(f"{where} holds {found} at step {first + step}, expected 0 or 1; {MEND}")


def check_onehot(values: np.ndarray, *, where: object, first: int = 0) -> None:
    """Raises LabError where a row of values [N, a] is not one 1 and zeros."""
    check_flags(values, where=where, first=first)
    bad = values.sum(1) != 1
    if bad.any():
        step = first + int(bad.argmax())
        raise LabError(f"{where} has not exactly one 1 at step {step}; {MEND}")

"""From steps one after the other, as other data sets keep them, to padded episodes."""

from collections.abc import Mapping
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
    following: Mapping[str, np.ndarray] | None = None
    """What was seen after each transition, by key: obs [N, n, o], state [N, s] and perhaps
    avail_actions [N, n, a]; None: not kept."""
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
    """The episodes, T = episode limit + 1. Steps after the last end count as cut off.

    The last frame holds what followed, where that is kept. Else, where the task was over, the frame
    is never valued, and repeats the one before. Where an episode was cut off, its last transition
    is left out, so that its last frame is one that was seen.
    """
    ends = np.flatnonzero(steps.terminated | steps.truncated) + 1
    bounds = np.unique([0, *ends.tolist(), len(steps.reward)])
    spans = [_Span.of(steps, int(low), int(high)) for low, high in pairwise(bounds)]
    shortened = sum(not span.whole for span in spans)
    spans = [span for span in spans if span.moves]
    longest = max((span.moves for span in spans), default=0)
    made = _zeros(steps, len(spans), max(longest, layout.episode_limit) + 1)
    for row, span in enumerate(spans):
        _fill({key: values[row] for key, values in made.items()}, steps, span)
    note = (
        f"the last transition of {shortened} episodes that were cut off is left out: what followed "
        "it is not kept"
    )
    return Padded(made, (*steps.notes, note) if shortened else steps.notes)


@dataclass(frozen=True)
class _Span:
    """The steps of one episode."""

    low: int
    moves: int
    """Transitions that are kept."""
    over: bool
    """Whether the task was over; else it was cut off."""
    whole: bool
    """Whether the last transition is kept."""

    @classmethod
    def of(cls, steps: Steps, low: int, high: int) -> "_Span":
        over = bool(steps.terminated[high - 1])
        whole = over or steps.following is not None
        return cls(low, high - low - (not whole), over, whole)


def _shown(steps: Steps) -> dict[str, np.ndarray]:
    """What has a value at every frame, by its published key."""
    return {
        "obs": steps.obs,
        "state": steps.state,
        "actions": steps.actions,
        "avail_actions": steps.avail_actions,
    }


def _zeros(steps: Steps, num: int, frames: int) -> dict[str, np.ndarray]:
    """`num` episodes of all published keys."""
    made: dict[str, np.ndarray] = {
        key: np.zeros((num, frames, *values.shape[1:]), values.dtype)
        for key, values in _shown(steps).items()
    }
    for key in ("terminated", "truncated", "filled"):
        made[key] = np.zeros((num, frames, 1), np.uint8)
    return made | {"reward": np.zeros((num, frames, 1), np.float32)}


def _fill(episode: dict[str, np.ndarray], steps: Steps, span: _Span) -> None:
    """Write one episode into its arrays [T, ...]."""
    low, moves = span.low, span.moves
    last = low + moves - span.whole  # the step that is seen, or repeated, at the last frame
    for key, values in _shown(steps).items():
        episode[key][:moves] = values[low : low + moves]
        episode[key][moves] = values[last]
    for key, values in (steps.following or {}).items():
        episode[key][moves] = values[last]
    episode["reward"][:moves, 0] = steps.reward[low : low + moves]
    episode["terminated" if span.over else "truncated"][moves - 1] = 1
    episode["filled"][: moves + 1] = 1


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

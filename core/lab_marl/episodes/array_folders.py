"""Reader of folders of arrays as OMAR keeps them: `obs_i.npy`, `acs_i.npy`, ... for agent i."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from labrun.errors import LabError, listed, shown

from lab_marl.episodes import flat
from lab_marl.episodes.layouts import Layout

MARK = "obs_0.npy"
"""The file of such a folder by which it is known."""
STATES = "states_0.npy"
MASKS = "avail_actions"
"""`avail_actions_i.npy` [N, a]: 1 where agent i may take an action, else 0."""
UNMASKED = "masks are not kept: every action counts as allowed"
PASSED_OVER = "next_obs is not used: masks are kept, but not those of the steps after"


def read(
    folder: Path, layout: Layout, *, episodes: int, episode_length: int = 0, masked: bool = False
) -> Iterator[flat.Padded]:
    """At most so many episodes at a time.

    A folder without masks allows every action, and a note says so where the task is `masked`.
    `dones_i` ends an episode: at the limit it was cut off. So does every `episode_length`-th step,
    for data whose `dones_i` are 0. Raises LabError for a file that is missing, no array of numbers,
    of another length or of an agent that the task does not have, and for actions, masks and ends
    that are no such thing.
    """
    _check_agents(folder, layout)
    num = len(_array(folder, "obs_0", None))
    obs, actions, rewards = (_every(folder, key, layout, num) for key in ("obs", "acs", "rews"))
    state = _states(folder, layout, num)
    masks = _masks(folder, layout, num, MASKS)
    said = (UNMASKED,) if masked and masks is None else ()
    following = _following(folder, layout, num, masked=masks is not None)
    if following is None and (folder / "next_obs_0.npy").is_file() and masks is not None:
        said = (PASSED_OVER,)
    ends = _ends(folder, layout, num, episode_length)
    for low, high in flat.groups(ends.any, episodes=episodes):
        span = slice(low, high)
        reward, notes = flat.team_reward(np.stack([one[span] for one in rewards], 1))
        steps = flat.Steps(
            obs=np.stack([one[span] for one in obs], 1),
            state=np.asarray(state[span]),
            actions=_joint(folder, actions, span, layout),
            avail_actions=masks.of(span) if masks else _every_action(high - low, layout),
            reward=reward,
            terminated=ends.terminated[span],
            truncated=ends.truncated[span],
            following=following.of(span) if following else None,
            notes=(*notes, *said),
        )
        yield flat.padded(steps, layout)


def _every(folder: Path, key: str, layout: Layout, num: int) -> list[np.ndarray]:
    """The file of each agent."""
    return [_array(folder, f"{key}_{i}", num) for i in range(layout.num_agents)]


def _states(folder: Path, layout: Layout, num: int) -> np.ndarray:
    if not (folder / STATES).is_file():
        raise LabError(
            f"{folder} has no {STATES}; save the task's state of each step there, "
            f"{layout.state_size} numbers as lab_marl.environments.make({layout.task!r}, 1) shows "
            "them"
        )
    return _array(folder, "states_0", num)


@dataclass(frozen=True)
class _Masks:
    """Which actions each agent may take, or could have taken, at every step."""

    folder: Path
    key: str
    """Of the files."""
    values: list[np.ndarray]
    """[N, a] of each agent."""

    def of(self, span: slice) -> np.ndarray:
        """[N, n, a] uint8."""
        chosen = [one[span] for one in self.values]
        for i, one in enumerate(chosen):
            flat.check_flags(one, where=self.folder / f"{self.key}_{i}.npy", first=span.start)
        return np.stack(chosen, 1).astype(np.uint8)


def _masks(folder: Path, layout: Layout, num: int, key: str) -> _Masks | None:
    """None where no agent has a file of them, or the task is continuous."""
    files = [folder / f"{key}_{i}.npy" for i in range(layout.num_agents)]
    if layout.continuous or not any(file.is_file() for file in files):
        return None
    values = _every(folder, key, layout, num)
    for file, one in zip(files, values, strict=True):
        if one.shape[1:] != (layout.num_actions,):
            raise LabError(
                f"{file} has {one.shape[1:]} numbers a step, task {layout.task} has a mask of "
                f"{layout.num_actions}; name the task that the folder is of"
            )
    return _Masks(folder, key, values)


def _every_action(num: int, layout: Layout) -> np.ndarray:
    return np.ones((num, layout.num_agents, layout.num_actions), np.uint8)


@dataclass(frozen=True)
class _Following:
    """What was seen after each step."""

    obs: list[np.ndarray]
    state: np.ndarray
    masks: _Masks | None

    def of(self, span: slice) -> dict[str, np.ndarray]:
        """By published key."""
        seen = {
            "obs": np.stack([one[span] for one in self.obs], 1),
            "state": np.asarray(self.state[span]),
        }
        return seen | {"avail_actions": self.masks.of(span)} if self.masks else seen


def _following(folder: Path, layout: Layout, num: int, *, masked: bool) -> _Following | None:
    """None unless observations, states and, where the steps before are `masked`, masks are there:
    a value under the mask of another step would count actions that nobody could take."""
    if not all((folder / f"next_{name}_0.npy").is_file() for name in ("obs", "states")):
        return None
    masks = _masks(folder, layout, num, f"next_{MASKS}") if masked else None
    if masked and masks is None:
        return None
    obs, state = _every(folder, "next_obs", layout, num), _array(folder, "next_states_0", num)
    return _Following(obs, state, masks)


def _check_agents(folder: Path, layout: Layout) -> None:
    extra = folder / f"obs_{layout.num_agents}.npy"
    if extra.exists():
        raise LabError(
            f"{extra}: task {layout.task} has {layout.num_agents} agents, 0 to "
            f"{layout.num_agents - 1}; name the task that the folder is of"
        )


@dataclass(frozen=True)
class _Ends:
    """[N] bool each: steps after which an episode was over, or cut off."""

    terminated: np.ndarray
    truncated: np.ndarray

    @property
    def any(self) -> np.ndarray:
        return self.terminated | self.truncated


def _ends(folder: Path, layout: Layout, num: int, episode_length: int) -> _Ends:
    done, limit = _done(folder, layout, num), layout.episode_limit
    if not episode_length:
        if num > limit and not done.any():
            raise LabError(
                f"{folder}/dones_0.npy is 0 at each of {num} steps; say how many steps every "
                f"episode has: --episode-length N (task {layout.task}: at most {limit})"
            )
        late = _at_limit(done, limit)
        return _Ends(done & ~late, late)
    regular = _regular(folder, done, episode_length)
    late = _at_limit(regular, limit)
    return _Ends(done & ~late, regular & (late | ~done))


def _regular(folder: Path, done: np.ndarray, episode_length: int) -> np.ndarray:
    """[N] bool: every `episode_length`-th step."""
    wanted = f"--episode-length {episode_length}"
    if len(done) % episode_length:
        raise LabError(
            f"{folder / MARK} has {len(done)} steps, which is no multiple of {wanted}; "
            "name the length that every episode has"
        )
    regular = np.arange(1, len(done) + 1) % episode_length == 0
    between = done & ~regular
    if between.any():
        raise LabError(
            f"{folder}/dones_0.npy ends an episode at step {int(between.argmax())}, {wanted} does "
            "not; leave the option out, or name another length"
        )
    return regular


def _done(folder: Path, layout: Layout, num: int) -> np.ndarray:
    """[N] bool: the last steps of episodes, on which all agents agree."""
    values = [_array(folder, f"dones_{i}", num).reshape(num) for i in range(layout.num_agents)]
    for i, one in enumerate(values):
        flat.check_flags(one, where=folder / f"dones_{i}.npy")
        differ = one != values[0]
        if differ.any():
            step = int(differ.argmax())
            raise LabError(
                f"{folder}/dones_{i}.npy holds {one[step]} at step {step}, dones_0.npy holds "
                f"{values[0][step]}; an episode ends for all agents at once; {flat.MEND}"
            )
    return values[0].astype(bool)


def _at_limit(done: np.ndarray, limit: int) -> np.ndarray:
    """[N] bool: the ends `limit` steps after the end before them."""
    ends = np.flatnonzero(done)
    lengths = np.diff(ends, prepend=-1)
    late = np.zeros_like(done)
    late[ends[lengths >= limit]] = True
    return late


def _joint(folder: Path, actions: Sequence[np.ndarray], span: slice, layout: Layout) -> np.ndarray:
    """[N, n], or [N, n, a] in a continuous task: what all agents did."""
    chosen = [
        _chosen(one[span], layout, folder / f"acs_{i}.npy", span.start)
        for i, one in enumerate(actions)
    ]
    return np.stack(chosen, 1)


def _chosen(actions: np.ndarray, layout: Layout, file: Path, first: int) -> np.ndarray:
    """One agent's actions [N], or [N, a] in a continuous task; one-hot rows as their numbers."""
    if layout.continuous:
        return actions
    if actions.ndim == 1 or actions.shape[1:] == (1,):
        return actions.reshape(len(actions))
    if actions.shape[1:] != (layout.num_actions,):
        raise LabError(
            f"{file} has {actions.shape[1:]} numbers a step, task {layout.task} has 1 number or a "
            f"one-hot row of {layout.num_actions}; name the task that the folder is of"
        )
    flat.check_onehot(actions, where=file, first=first)
    return actions.argmax(1)


def _array(folder: Path, name: str, num: int | None) -> np.ndarray:
    """One file, its numbers read as they are asked for."""
    file = folder / f"{name}.npy"
    if not file.is_file():
        there = sorted(entry.name for entry in folder.iterdir())
        raise LabError(f"{folder} has no {file.name}; it has: {listed(there, near=file.name)}")
    try:
        values = np.load(file, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError, MemoryError) as error:
        reason = shown(str(error), limit=160)
        raise LabError(f"{file} cannot be read as an array of numbers: {reason}") from error
    if not isinstance(values, np.ndarray) or not values.ndim:
        raise LabError(f"{file} holds no array of numbers with an axis of steps")
    if num is not None and len(values) != num:
        raise LabError(f"{file} has {len(values)} steps, {folder / MARK} has {num}")
    return values

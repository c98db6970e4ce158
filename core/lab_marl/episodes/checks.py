"""What stored episodes must hold; every refusal names the file, the key and the place."""

import numpy as np
from labrun.errors import LabError

from lab_marl.episodes.episodes import Episodes
from lab_marl.episodes.layouts import Layout

BLOCK = 256
"""Episodes that are checked at once, so that the masks stay small."""
MEND = "mend the episode where the data were made, or leave it out"
ACTION_TOLERANCE = 1e-5
"""How far rounding may carry a continuous action out of [-1, 1]."""


def check_mask(
    values: np.ndarray, key: str, valid: np.ndarray, *, file: object, episodes: np.ndarray
) -> None:
    """Raises LabError where stored values [E, T, ...] are neither 0 nor 1.

    Only frames of `valid` [E, T] count; `episodes` [E] are the numbers that a refusal names.
    """
    bad = (values != 0) & (values != 1) & _over(valid, values)
    if bad.any():
        found = values[np.unravel_index(bad.argmax(), bad.shape)]
        _refuse(bad, f"{key} holds {found}, expected 0 or 1", file=file, episodes=episodes)


def check_whole(
    values: np.ndarray, key: str, valid: np.ndarray, *, file: object, episodes: np.ndarray
) -> None:
    """Raises LabError where stored values [E, T, ...] are no whole numbers that int64 holds."""
    if values.dtype.kind != "f":
        return
    bad = ~((values == np.trunc(values)) & (np.abs(values) < 2**62)) & _over(valid, values)
    if bad.any():
        found = values[np.unravel_index(bad.argmax(), bad.shape)]
        _refuse(bad, f"{key} holds {found}, expected whole numbers", file=file, episodes=episodes)


def check_fits(
    values: np.ndarray, key: str, valid: np.ndarray, *, file: object, episodes: np.ndarray
) -> None:
    """Raises LabError where stored values [E, T, ...] are numbers that float32 cannot hold."""
    if values.dtype.kind != "f" or values.dtype.itemsize <= 4:
        return
    most = float(np.finfo(np.float32).max)
    bad = np.isfinite(values) & (np.abs(values) > most) & _over(valid, values)
    if bad.any():
        found = values[np.unravel_index(bad.argmax(), bad.shape)]
        text = f"{key} holds {found}, float32 holds at most {most:.3g}"
        _refuse(bad, text, file=file, episodes=episodes)


def check_onehot(
    shown: np.ndarray, key: str, moves: np.ndarray, *, file: object, episodes: np.ndarray
) -> None:
    """Raises LabError where shown [E, T, n, a] bool has not one 1 for an agent that moves."""
    bad = (shown.sum(-1) != 1) & _over(moves, shown[..., 0])
    text = f"{key} has not exactly one 1 for an agent"
    _refuse(bad, text, "agent", file=file, episodes=episodes)


def _over(frames: np.ndarray, values: np.ndarray) -> np.ndarray:
    """frames [E, T] with as many axes as values [E, T, ...]."""
    return frames.reshape(frames.shape + (1,) * (values.ndim - 2))


def check_filled(filled: np.ndarray, *, file: object, episodes: np.ndarray) -> None:
    """Raises LabError where filled [E, T] is no prefix of at least two frames.

    `episodes` [E] are the numbers in the file that a refusal names.
    """
    late = np.zeros_like(filled)
    late[:, 1:] = filled[:, 1:] & ~filled[:, :-1]
    _refuse(late, "filled begins again after it ended", file=file, episodes=episodes)
    short = np.zeros_like(filled)
    short[:, 0] = filled.sum(1) < 2
    text = "filled covers no transition; an episode of k transitions has k + 1 filled frames"
    _refuse(short, text, file=file, episodes=episodes)


def check_content(part: Episodes, layout: Layout, *, file: object, episodes: np.ndarray) -> None:
    """Raises LabError for values that no episode of the task can hold.

    `filled` must have passed `check_filled`. At an episode's last frame, where no transition
    begins, the action may be anything in range. Where the task was over by then, so that the frame
    is never valued, its masks may forbid every action.
    """
    for start in range(0, len(part), BLOCK):
        index = slice(start, start + BLOCK)
        block = Episodes(**{name: values[index] for name, values in part.arrays()})
        _check_block(block, layout, _Refusal(file, episodes[index]))


def check_valued(part: Episodes, layout: Layout, *, file: object, episodes: np.ndarray) -> None:
    """Raises LabError where an agent has no allowed action at a frame that is valued: any but the
    last of an episode that ends with `terminated`, as `end_at_timeouts` leaves it."""
    if not layout.continuous:
        _check_masks(part, _Refusal(file, episodes), over=part.terminated)


def _check_masks(part: Episodes, refuse: "_Refusal", *, over: np.ndarray) -> None:
    """`over` [E, T]: transitions after which nothing is valued."""
    valued = part.filled.copy()
    valued[:, 1:] &= ~over[:, :-1]
    # The bootstrapped value of a next frame is a maximum over the allowed actions.
    stuck = valued[:, :, None] & ~part.avail_actions.any(-1)
    refuse(stuck, "avail_actions allows an agent no action", axis="agent")


class _Refusal:
    """Raises where something is bad, naming the first place."""

    def __init__(self, file: object, episodes: np.ndarray) -> None:
        self._file, self._episodes = file, episodes

    def __call__(self, bad: np.ndarray, text: str, axis: str = "position") -> None:
        _refuse(bad, text, axis, file=self._file, episodes=self._episodes)


def _refuse(
    bad: np.ndarray, text: str, axis: str = "position", *, file: object, episodes: np.ndarray
) -> None:
    """`bad` is [E, T, ...]; `axis` says what is counted behind the frames, where anything is."""
    if not bad.any():
        return
    episode, frame, *rest = (int(i) for i in np.argwhere(bad)[0])
    place = f"episode {int(episodes[episode])}, frame {frame}"
    if rest:
        place += f", {axis} {', '.join(map(str, rest))}"
    raise LabError(f"{file}: {text}: {place}; {MEND}")


def _check_block(block: Episodes, layout: Layout, refuse: _Refusal) -> None:
    for name in ("obs", "state", "reward"):
        refuse(~np.isfinite(getattr(block, name)), f"{name} is NaN or infinite")
    frames = np.arange(block.filled.shape[1])
    last = block.lengths[:, None] - 2
    moves = frames <= last
    if not layout.continuous:
        over = block.terminated & ~block.truncated & (frames == last)
        _check_masks(block, refuse, over=over)
    _check_actions(block, layout, moves, refuse)
    for name in ("terminated", "truncated"):
        misplaced = getattr(block, name) & (frames != last)
        refuse(misplaced, f"{name} is set elsewhere than one frame before the last filled")
    refuse((block.reward != 0) & ~moves, "reward is not 0 at the last frame, which has no action")
    ended = block.terminated | block.truncated
    open_end = (frames == last) & ~ended & (last + 1 < layout.episode_limit)
    text = f"terminated is not set, though the episode ends before {layout.episode_limit} steps"
    refuse(open_end, text)


def _check_actions(block: Episodes, layout: Layout, moves: np.ndarray, refuse: _Refusal) -> None:
    """Range at every frame; masks at those where a transition begins, `moves` [E, T]."""
    actions, most = block.actions, layout.num_actions
    if layout.continuous:
        inside = np.abs(actions) <= 1 + ACTION_TOLERANCE
        refuse(~inside, "actions leave the range -1 to 1")
        return
    refuse((actions < 0) | (actions >= most), f"actions leave the range 0 to {most - 1}")
    allowed = np.take_along_axis(block.avail_actions, actions[..., None], axis=-1)[..., 0]
    forbidden = ~allowed & moves[:, :, None]
    refuse(forbidden, "actions holds an action that avail_actions forbids")

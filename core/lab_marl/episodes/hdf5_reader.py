"""Reader of offline data in the published HDF5 layout (see `hdf5_files`)."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from labrun.errors import LabError

from lab_marl.episodes import checks
from lab_marl.episodes.episodes import Episodes
from lab_marl.episodes.hdf5_files import AGAIN, ONEHOT, Part, opened, probe
from lab_marl.episodes.layouts import Layout

BLOCK = 250
"""Episodes read at once from a dataset without chunks."""


def read(files: Sequence[Path], layout: Layout, index: np.ndarray | None = None) -> Episodes:
    """The episodes at `index`, ascending and counted through all files; None: every one.

    Only those are read, up to the last frame that one of them fills; what lies after an episode's
    end is set to 0. Raises LabError for whatever `probe` or `checks` refuse.
    """
    parts = probe(files, layout)
    rows = rows_by_part(parts, index)
    filled = [_filled(part, chosen) for part, chosen in zip(parts, rows, strict=True)]
    frames = max((int(part.sum(1).max()) for part in filled if len(part)), default=0)
    episodes = empty(layout, sum(map(len, rows)), frames)
    start = 0
    for part, chosen, mask in zip(parts, rows, filled, strict=True):
        if len(chosen):
            span, width = slice(start, start + len(chosen)), min(frames, part.frames)
            target = Episodes(**{name: values[span, :width] for name, values in episodes.arrays()})
            _fill(target, part, chosen, mask[:, :width])
            checks.check_content(target, layout, file=part.file, episodes=chosen)
            start += len(chosen)
    return episodes


def read_rows(part: Part, rows: np.ndarray, layout: Layout) -> Episodes:
    """The episodes `rows` (ascending, at least one) of a file that was probed, up to the last frame
    that one of them fills. Raises LabError for whatever `checks` refuse."""
    filled = _filled(part, rows)
    frames = int(filled.sum(1).max())
    episodes = empty(layout, len(rows), frames)
    _fill(episodes, part, rows, filled[:, :frames])
    checks.check_content(episodes, layout, file=part.file, episodes=rows)
    return episodes


def rows_by_part(parts: Sequence[Part], index: np.ndarray | None) -> list[np.ndarray]:
    """The chosen episodes of each part, numbered within it."""
    bounds = np.cumsum([0, *(part.num_episodes for part in parts)])
    chosen = np.arange(bounds[-1]) if index is None else index
    return [chosen[(chosen >= low) & (chosen < high)] - low for low, high in pairwise(bounds)]


def _filled(part: Part, rows: np.ndarray) -> np.ndarray:
    filled = np.zeros((len(rows), part.frames), bool)
    if len(rows):
        with opened(part.file) as stored:
            _read_rows(stored["filled"], rows, filled, part.file, np.ones_like(filled))
        checks.check_filled(filled, file=part.file, episodes=rows)
    return filled


def empty(layout: Layout, num: int, frames: int) -> Episodes:
    """`num` episodes of zeros."""
    agents, head = layout.num_agents, (num, frames)
    actions = (
        np.zeros((*head, agents, layout.num_actions), np.float32)
        if layout.continuous
        else np.zeros((*head, agents), np.int64)
    )
    return Episodes(
        obs=np.zeros((*head, agents, layout.obs_size), np.float32),
        state=np.zeros((*head, layout.state_size), np.float32),
        actions=actions,
        avail_actions=np.zeros((*head, agents, layout.num_actions), bool),
        reward=np.zeros(head, np.float32),
        terminated=np.zeros(head, bool),
        truncated=np.zeros(head, bool),
        filled=np.zeros(head, bool),
    )


def _fill(target: Episodes, part: Part, rows: np.ndarray, filled: np.ndarray) -> None:
    target.filled[:] = filled
    with opened(part.file) as stored:
        for name, values in target.arrays():
            if name == "actions" and part.onehot:
                _read_onehot(stored[ONEHOT], rows, values, part.file, filled)
            elif name in stored and name != "filled":
                _read_rows(stored[name], rows, values, part.file, filled)
            values[~filled] = 0


def _read_onehot(
    stored: Any, rows: np.ndarray, into: np.ndarray, file: Path, filled: np.ndarray
) -> None:
    """The number of the action that is 1. At an episode's last frame, where none begins, there may
    be none: 0 is read."""
    shown = np.zeros((*into.shape, stored.shape[-1]), bool)
    _read_rows(stored, rows, shown, file, filled)
    moves = np.zeros_like(filled)
    moves[:, :-1] = filled[:, 1:]
    checks.check_onehot(shown, ONEHOT, moves, file=file, episodes=rows)
    into[:] = shown.argmax(-1)


def _read_rows(
    stored: Any, rows: np.ndarray, into: np.ndarray, file: Path, valid: np.ndarray
) -> None:
    """Copy episodes `rows` into `into`, chunk by chunk, so that each is unpacked once.

    Raises LabError where a frame of `valid` [E, T] holds what the type of `into` cannot: neither 0
    nor 1, no whole number, or one that is too large.
    """
    step = stored.chunks[0] if stored.chunks else BLOCK
    frames = into.shape[1]
    for low in range(int(rows[0]) // step * step, int(rows[-1]) + 1, step):
        first, last = np.searchsorted(rows, (low, low + step))
        if first == last:
            continue
        inside = rows[first:last]
        begin, end = int(inside[0]), int(inside[-1]) + 1
        try:
            block = stored[begin:end, :frames]
        except OSError as error:
            text = f"{file} is damaged: {stored.name[1:]} cannot be unpacked; {AGAIN}"
            raise LabError(text) from error
        values = block[inside - begin].reshape(into[first:last].shape)
        check = _CHECKS.get(into.dtype.kind)
        if check:
            check(values, stored.name[1:], valid[first:last], file=file, episodes=inside)
        # What is no number, or none of this type, stands behind an end, and is cleared.
        with np.errstate(invalid="ignore", over="ignore"):
            into[first:last] = values


_CHECKS = {"b": checks.check_mask, "i": checks.check_whole, "f": checks.check_fits}
"""What stored values must be, by the kind of type that they are read into."""

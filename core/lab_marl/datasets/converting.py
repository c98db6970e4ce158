"""From data in the form of another project to files in the published layout."""

import functools
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import fields
from pathlib import Path

import numpy as np
from labrun.errors import LabError, shown

from lab_marl import environments
from lab_marl.datasets import foreign
from lab_marl.episodes import (
    array_folders,
    flat,
    hdf5_files,
    hdf5_reader,
    hdf5_writer,
    pickles,
    vaults,
)
from lab_marl.episodes.episodes import Episodes
from lab_marl.episodes.layouts import Layout

KEYS = {*(field.name for field in fields(Episodes)), hdf5_files.ONEHOT}
"""What is read; other keys are passed over."""
PART_BYTES = 2**27
"""Of one part's episodes in memory, at most: a source may be larger than memory."""
Part = tuple[str, flat.Padded]
"""The name of a source for refusals, and its episodes."""
NUMBERS = "biuf"
"""Kinds of a NumPy type that holds real numbers."""


def convert(
    source: Path, target: Path, *, task: str, quality: str, episode_length: int = 0
) -> list[str]:
    """One line for each file written: `target/<task>/<quality>/<source's name>/part_i.h5`.

    `episode_length`: steps of every episode of a folder of arrays that does not say where they end.

    Every episode is checked first, and the folder appears complete. Raises LabError for an unknown
    task, a source of no known form, content that does not fit the task, and files that are there.
    """
    layout = environments.layout_of(task)
    kind = foreign.kind_of(source)
    if kind is None:
        raise LabError(
            f"{source} holds no OG-MARL vault ({vaults.MARK}), no arrays ({array_folders.MARK}) "
            "and no part_*.pkl; nothing to convert"
        )
    if episode_length and kind != "arrays":
        raise LabError(
            f"{source} is a {foreign.NAMES[kind]}, which says where its episodes end; leave out "
            "--episode-length"
        )
    name = os.path.basename(os.path.abspath(source)).removesuffix(".pkl")
    folder = hdf5_files.new_folder(target, task, quality, name)
    try:
        said = _write_all(
            folder, _parts(source, kind, layout, episode_length), layout, aside=target
        )
    except OSError as error:
        raise LabError(
            f"cannot write {folder}: {shown(str(error))}; make room, or name another target"
        ) from error
    return said


def _write_all(
    folder: Path,
    parts: Iterable[Part],
    layout: Layout,
    *,
    aside: Path,
) -> list[str]:
    """One line for each file. They are written in `aside`, where no run looks for data, and moved
    into place as a whole: a conversion that is killed leaves no half of it to be read."""
    new = [place for place in (aside, *aside.parents) if not place.exists()]
    aside.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=".converting-", dir=aside))
    try:
        said = _write_parts(draft, parts, layout)
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft.chmod(aside.stat().st_mode & 0o777)
        draft.rename(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
        for place in new:
            with suppress(OSError):  # it holds data
                place.rmdir()
    return [f"{line}: {folder / f'part_{i}.h5'}" for i, line in enumerate(said)]


def _write_parts(draft: Path, parts: Iterable[Part], layout: Layout) -> list[str]:
    """What each file holds. Raises LabError where an episode holds what cannot be, or only some
    parts say where an episode was cut off."""
    said: list[str] = []
    flags: dict[bool, str] = {}
    for source, padded in parts:
        filled = padded.keys.get("filled")
        if filled is not None and filled.shape[:1] == (0,):  # no episode has a whole transition
            continue
        episodes = _checked(source, padded.keys, layout)
        if len(episodes):
            flagged = "truncated" in padded.keys
            flags.setdefault(flagged, source)
            _check_flags_alike(flags)
            line = _write(draft / f"part_{len(said)}.h5", episodes, layout, flagged=flagged)
            said.append("; ".join((line, *padded.notes)))
    if not said:
        raise LabError("the source holds no episode of a whole transition; nothing to convert")
    return said


def _check_flags_alike(flags: Mapping[bool, str]) -> None:
    """`flags`: the first part with the key `truncated` and the first one without it."""
    if len(flags) == 2:
        raise LabError(
            f"{flags[False]}: no key 'truncated', which {flags[True]} has; write it in both, or "
            "convert them into two qualities"
        )


def _parts(source: Path, kind: str, layout: Layout, episode_length: int) -> Iterator[Part]:
    """Each part. Its source says where its episodes begin, where it is not the first."""
    if kind == "pickle":
        for file in foreign.pickles_in(source):
            yield str(file), flat.Padded(pickles.read(file), ())
    else:
        read = (
            vaults.read
            if kind == "vault"
            else functools.partial(
                array_folders.read,
                episode_length=episode_length,
                masked=environments.has_masks(layout),
            )
        )
        one = hdf5_reader.empty(layout, 1, layout.episode_limit + 1).nbytes
        try:
            done = 0
            for padded in read(source, layout, episodes=max(1, PART_BYTES // one)):
                yield f"{source} from episode {done} on" if done else str(source), padded
                done += len(padded.keys["filled"])
        except (ValueError, IndexError, TypeError, MemoryError) as error:
            raise LabError(
                f"the arrays of {source} do not fit each other or task {layout.task}: "
                f"{shown(str(error), limit=160)}; name the task that they are of"
            ) from error


def _checked(source: str, arrays: dict[str, np.ndarray], layout: Layout) -> Episodes:
    """The episodes, read as those of a file are, so that every check is the same."""
    with tempfile.TemporaryDirectory() as scratch:
        draft = Path(scratch) / "part_0.h5"
        with hdf5_writer.composed(draft) as out:
            for key in sorted(KEYS & set(arrays)):
                if arrays[key].dtype.kind not in NUMBERS:
                    held = arrays[key].dtype
                    raise LabError(f"{source}: {key} holds {held}, expected real numbers")
                out.create_dataset(key, data=arrays[key])
        try:
            return hdf5_reader.read([draft], layout)
        except LabError as error:
            raise LabError(str(error).replace(str(draft), source)) from error


def _write(file: Path, episodes: Episodes, layout: Layout, *, flagged: bool) -> str:
    attributes = {
        "task": layout.task,
        "mean_return": float(episodes.returns.mean()),
        "mean_length": float((episodes.lengths - 1).mean()),
    }
    hdf5_writer.write(file, episodes, layout, attributes=attributes, flagged=flagged)
    return (
        f"{len(episodes)} episodes, return {attributes['mean_return']:.2f}, "
        f"length {attributes['mean_length']:.1f}"
    )

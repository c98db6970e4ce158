"""Files of offline data in the published HDF5 layout: which there are, and what shape they have.

`<path>/<task>/<quality>/<run>/part_*.h5`, each part with obs [E, T, n, o], state [E, T, s],
actions [E, T, n, 1], avail_actions [E, T, n, a], reward, terminated, filled [E, T, 1] and perhaps
truncated [E, T, 1] and attributes. Other keys are passed over. In a continuous task actions is
[E, T, n, a] of floating-point numbers.

Also read: a file without the last axis where that is 1; actions that are whole numbers of a
floating-point type; actions_onehot [E, T, n, a] in place of actions; parts of different T.
"""

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from labrun.errors import LabError, listed, shown

from lab_marl.episodes.layouts import Layout

SCHEMA_VERSION = 1
"""Of the root attributes that our own files carry."""
ONEHOT = "actions_onehot"
"""The key that may stand in place of `actions`."""
AGAIN = "copy the file again, or make the data again"
"""What to do about a file that is damaged."""
SHOWN = 60
"""Characters of a damaged attribute that a refusal shows."""


@dataclass(frozen=True)
class Part:
    """What one file says of itself, its episodes unread."""

    file: Path
    num_episodes: int
    frames: int
    """Frames to which its episodes are padded."""
    has_truncated: bool
    onehot: bool
    """Whether its actions stand in `actions_onehot` alone."""
    chunk: int
    """Episodes that are unpacked together; 1 where the file is not in chunks."""
    attributes: Mapping[str, Any]


def find_parts(folder: Path) -> list[Path]:
    """`<run>/part_*.h5` under the folder of one quality: runs by name, parts by number.

    Raises LabError where there is none, saying what is there instead.
    """
    found = [file for file in folder.glob("*/part_*.h5") if file.is_file()]
    if not found:
        there, names = _nearest(folder)
        held = listed(names) if names else "nothing"
        raise LabError(f"no {folder}/<run>/part_*.h5; {there} holds {held}")
    return sorted(found, key=lambda file: (file.parent.name, number_of(file), file.name))


def new_folder(target: Path, task: str, quality: str, run: str) -> Path:
    """Where new parts will lie: `<target>/<task>/<quality>/<run>`.

    Raises LabError where something lies there already, or `quality` is no name of a folder.
    """
    if quality in ("", ".", "..") or Path(quality).name != quality:
        raise LabError(f"quality={quality!r} is no name of a folder; name it like 'medium'")
    folder = target / task / quality / run
    if os.path.lexists(folder):
        raise LabError(f"{folder} is there already; name another target or quality")
    return folder


def number_of(file: Path) -> int:
    """The last number in the file's name; 0 where there is none."""
    digits = re.findall(r"\d+", file.stem)
    return int(digits[-1]) if digits else 0


def _nearest(folder: Path) -> tuple[Path, list[str]]:
    """The folder, or the closest one above it that exists, and the names in it."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.is_dir())
    return there, sorted(entry.name for entry in there.iterdir())


def probe(files: Sequence[Path], layout: Layout) -> list[Part]:
    """Every part, its shapes and attributes compared with the task; no episode is read.

    Raises LabError for a file that is no HDF5, damaged attributes, a missing key, a rank, length,
    width or type that does not fit, and parts that do not fit each other.
    """
    parts = [_probe(file, layout) for file in files]
    check_alike(parts)
    return parts


def check_alike(parts: Sequence[Part]) -> None:
    """Raises LabError for two parts that one run cannot read together."""
    for part in parts[1:]:
        if part.has_truncated != parts[0].has_truncated:
            with_it, without = (part, parts[0]) if part.has_truncated else (parts[0], part)
            raise LabError(
                f"{without.file}: no key 'truncated', which {with_it.file} has; write it in "
                "both (of a conversion: convert the source again), or put the files into two "
                "qualities' folders"
            )


def _widths(layout: Layout, *, onehot: bool) -> dict[str, tuple[int, ...]]:
    """The shape of each key after its axes of episodes and frames."""
    num, actions = layout.num_agents, layout.num_actions
    chosen = {ONEHOT: (num, actions)} if onehot else {"actions": (num, 1)}
    return {
        "obs": (num, layout.obs_size),
        "state": (layout.state_size,),
        **({"actions": (num, actions)} if layout.continuous else chosen),
        "avail_actions": (num, actions),
        "reward": (1,),
        "terminated": (1,),
        "filled": (1,),
    }


def _probe(file: Path, layout: Layout) -> Part:
    with opened(file) as stored:
        attributes = {name: _attribute(stored, name, file) for name in stored.attrs}
        _check_attributes(file, attributes, layout)
        onehot = not (layout.continuous or _has(stored, "actions")) and _has(stored, ONEHOT)
        widths = _widths(layout, onehot=onehot)
        if _has(stored, "truncated"):
            widths["truncated"] = (1,)
        shapes = {key: _shape(stored, key, width, file) for key, width in widths.items()}
        num, frames = shapes["obs"][:2]
        for key, width in widths.items():
            _check_shape(file, key, shapes[key], (num, frames, *width), layout)
            _check_type(file, key, _values(stored, key, file).dtype, layout)
        chunks = _values(stored, "obs", file).chunks
    if num == 0:
        raise LabError(f"{file}: obs has 0 episodes; delete the file, or make the data again")
    if frames > layout.episode_limit + 1:
        raise LabError(
            f"{file}: obs has {frames} frames, task {layout.task} has at most "
            f"{layout.episode_limit + 1} (episode limit + 1); cut its episodes at the limit"
        )
    chunk = chunks[0] if chunks else 1
    return Part(file, num, frames, "truncated" in widths, onehot, chunk, attributes)


@contextmanager
def opened(file: Path) -> Iterator[h5py.File]:
    """The file, open for reading. Raises LabError where it is missing, no HDF5, or damaged."""
    try:
        stored = h5py.File(file, "r")
    except FileNotFoundError:
        raise LabError(f"no file {file}; name one that is there") from None
    except OSError as error:
        reason = str(error).split("(", 1)[-1].rstrip(")")
        raise LabError(f"{file} cannot be read as HDF5 ({reason}); {AGAIN}") from error
    try:
        with stored:
            yield stored
    except (RuntimeError, OSError) as error:
        raise LabError(f"{file} is damaged: {shown(str(error))}; {AGAIN}") from error


def _has(stored: h5py.File, key: str) -> bool:
    """Whether the key is there, perhaps as a link to nothing."""
    return stored.get(key, getlink=True) is not None


def _values(stored: h5py.File, key: str, file: Path) -> h5py.Dataset:
    found = stored.get(key)
    if isinstance(found, h5py.Dataset):
        if found.shape is None:
            raise LabError(f"{file}: {key} has no content; write the numbers under this key")
        return found
    if found is not None:
        raise LabError(f"{file}: {key} is a group; write the numbers themselves under this key")
    link = stored.get(key, getlink=True)
    if isinstance(link, h5py.SoftLink | h5py.ExternalLink):
        place = f"{link.filename}, " if isinstance(link, h5py.ExternalLink) else ""
        raise LabError(
            f"{file}: {key} is a link to {place}{link.path}, which is not there; put it there, or "
            "write the numbers themselves under this key"
        )
    raise LabError(
        f"{file} has no key {key!r}; it has: {listed(map(str, stored), near=key)}; add the key, or "
        "make the data again"
    )


def _shape(stored: h5py.File, key: str, width: tuple[int, ...], file: Path) -> tuple[int, ...]:
    """The key's shape; a last axis of 1 that the file leaves out is put back."""
    shape = _values(stored, key, file).shape
    rank = len(width) + 2
    if len(shape) == rank - 1 and width[-1] == 1:
        return (*shape, 1)
    if len(shape) != rank:
        axes = (
            ("episodes", "frames", "agents", "numbers")
            if rank == 4
            else ("episodes", "frames", "numbers")
        )
        raise LabError(
            f"{file}: {key} has {len(shape)} axes {shape}, expected {rank}: {', '.join(axes)}"
        )
    return shape


def _check_shape(
    file: Path, key: str, shape: tuple[int, ...], expected: tuple[int, ...], layout: Layout
) -> None:
    for axis, name in ((0, "episodes"), (1, "frames")):
        if shape[axis] != expected[axis]:
            raise LabError(
                f"{file}: {key} has {shape[axis]} {name}, obs has {expected[axis]}; write all keys "
                "of the same episodes"
            )
    names = ("agents", "numbers") if len(shape) == 4 else ("numbers",)
    for got, wanted, name in zip(shape[2:], expected[2:], names, strict=True):
        if got != wanted:
            raise LabError(
                f"{file}: {key} has {got} {name}, task {layout.task} has {wanted}; put the file "
                "into the folder of its task"
            )


def _check_type(file: Path, key: str, dtype: np.dtype, layout: Layout) -> None:
    kinds, wanted = "biuf", "real numbers"
    if key == "actions" and layout.continuous:
        kinds, wanted = "f", "floating-point numbers"
    elif key == "actions":
        kinds, wanted = "iuf", "whole numbers"
    if dtype.kind not in kinds:
        raise LabError(f"{file}: {key} holds {dtype}, expected {wanted}; write it as such")


def _attribute(stored: h5py.File, name: str, file: Path) -> Any:
    try:
        return stored.attrs[name]
    except (OSError, TypeError) as error:
        text = f"{file} is damaged: attribute {name!r} cannot be read; {AGAIN}"
        raise LabError(text) from error


def _misread(file: Path, name: str, value: object, wanted: str) -> LabError:
    found = " ".join(repr(value).split())[:SHOWN]
    return LabError(f"{file}: attribute {name!r} holds {found}, expected {wanted}; {AGAIN}")


def _check_attributes(file: Path, attributes: Mapping[str, Any], layout: Layout) -> None:
    """Our own files carry the layout that they were written for."""
    version = attributes.get("schema_version", SCHEMA_VERSION)
    if not isinstance(version, int | np.integer):
        raise _misread(file, "schema_version", version, f"the integer {SCHEMA_VERSION}")
    if version != SCHEMA_VERSION:
        raise LabError(
            f"{file} has schema_version {version}; this version reads {SCHEMA_VERSION}; make the "
            "data again"
        )
    if "layout" in attributes:
        _check_layout(file, attributes["layout"], layout)


def _check_layout(file: Path, text: Any, layout: Layout) -> None:
    wanted = "a JSON object"
    try:
        written = json.loads(text)
    except (TypeError, ValueError) as error:
        raise _misread(file, "layout", text, wanted) from error
    if not isinstance(written, dict):
        raise _misread(file, "layout", text, wanted)
    for name, value in json.loads(layout_json(layout)).items():
        if written.get(name) != value:
            raise LabError(
                f"{file} was written for {name} {written.get(name)}, "
                f"task {layout.task} has {value}; make the data again"
            )


def layout_json(layout: Layout) -> str:
    return json.dumps(asdict(layout), sort_keys=True)

"""What a folder of offline data holds: tasks, sizes, returns, win rates, faults."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from labrun.contract import DataReport
from labrun.errors import LabError

from lab_marl import environments
from lab_marl.datasets import foreign
from lab_marl.episodes import hdf5_reader
from lab_marl.episodes.hdf5_files import Part, check_alike, probe
from lab_marl.episodes.layouts import Layout

BLOCK = 250
"""Episodes that are in memory at once."""
NONE = "-"


def show(path: Path) -> DataReport:
    """One row for each part below `path`, one line for each fault, and a note for each source in
    the form of another project: how to convert it.

    Raises LabError where there is no data at all.
    """
    files = [path] if path.is_file() and path.suffix == ".h5" else _parts_below(path)
    others = foreign.sources_below(path)
    if not files and not others:
        raise LabError(
            f"no part_*.h5 in {path}, and no data of another known form; "
            "expected <task>/<quality>/<run>/part_*.h5"
        )
    several = len({_root(file) for file in files}) > 1
    rows, faults, parts = [], [], []
    for file in files:
        row = {"folder": os.path.relpath(_root(file), path)} if several else {}
        row |= _place(file)
        try:
            part, facts = _read(file, row["task"])
            parts.append(part)
            rows.append(row | facts)
        except LabError as error:
            text = str(error)
            rows.append(row)
            faults.append(text if str(file) in text else f"{file}: {text}")
    return DataReport(rows, faults + _unlike(parts), [foreign.advice(*other) for other in others])


def _root(file: Path) -> Path:
    """The folder of tasks that the file belongs to."""
    above = file.absolute().parents
    return above[min(3, len(above) - 1)]


def _parts_below(path: Path) -> list[Path]:
    """Without those of a conversion that was killed."""
    found = sorted(path.rglob("part_*.h5"))
    return [f for f in found if not f.parent.name.startswith(".converting-")]


def _place(file: Path) -> dict[str, str]:
    task, quality, run = ["", "", "", *file.absolute().parts[:-1]][-3:]
    return {"task": task, "quality": quality, "run": run, "file": file.name}


def _read(file: Path, task: str) -> tuple[Part, dict[str, str]]:
    """Raises LabError for whatever a run refuses of the file alone."""
    layout = environments.layout_of(task)
    part = probe([file], layout)[0]
    return part, _facts(part, layout)


def _unlike(parts: Sequence[Part]) -> list[str]:
    """A fault for each quality whose files a run does not read together."""
    faults = []
    by_quality: dict[Path, list[Part]] = {}
    for part in parts:
        by_quality.setdefault(part.file.absolute().parent.parent, []).append(part)
    for together in by_quality.values():
        try:
            check_alike(together)
        except LabError as error:
            faults.append(str(error))
    return faults


def _facts(part: Part, layout: Layout) -> dict[str, str]:
    """Read block by block, so that a file may be larger than memory."""
    returns, lengths, won, cut = [], [], [], 0
    for start in range(0, part.num_episodes, BLOCK):
        index = np.arange(start, min(start + BLOCK, part.num_episodes))
        episodes = hdf5_reader.read([part.file], layout, index)
        returns.append(episodes.returns)
        lengths.append(episodes.lengths - 1)
        won.append(environments.won(layout, episodes))
        cut += int(episodes.truncated.any(1).sum())
    rates = [block for block in won if block is not None]
    return {
        "episodes": str(part.num_episodes),
        "length": _mean(lengths, 1),
        "return": _mean(returns, 2),
        "won": _mean(rates, 3),
        "cut off": str(cut) if part.has_truncated else NONE,
    }


def _mean(blocks: list[np.ndarray], digits: int) -> str:
    return f"{np.concatenate(blocks).mean():.{digits}f}" if blocks else NONE

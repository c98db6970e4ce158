"""Which episodes of a user's files a run takes."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from labrun.errors import LabError, listed

from lab_marl.datasets import foreign
from lab_marl.datasets.config import OfflineDataConfig
from lab_marl.episodes.hdf5_files import Part, find_parts, probe
from lab_marl.episodes.layouts import Layout


@dataclass(frozen=True)
class Selection:
    """Episodes at `index`, ascending, counted through all parts."""

    layout: Layout
    folders: tuple[Path, ...]
    parts: tuple[Part, ...]
    index: np.ndarray
    wanted: int
    """Episodes that were asked for; 0: all."""
    left_out: tuple[Path, ...]
    """Folders of runs that dataset.runs=last passes over."""

    @property
    def total(self) -> int:
        return sum(part.num_episodes for part in self.parts)

    def describe(self) -> str:
        places = " and ".join(map(str, self.folders))
        held = f"{len(self.index)} of {self.total} episodes in {len(self.parts)} file(s): {places}"
        return held + self._runs() + self._lack()

    def _runs(self) -> str:
        """Which runs were read, where a folder holds several."""
        if self.left_out:
            read = ", ".join(dict.fromkeys(part.file.parent.name for part in self.parts))
            return f", run {read} alone (dataset.runs=last)"
        taken = self._taken()
        if len(taken) == len(self.folders):
            return ""
        names = [run.name if len(self.folders) == 1 else "/".join(run.parts[-2:]) for run in taken]
        counts = [f"{got} of {held}" for got, held in taken.values()]
        each = [f"{name} {count}" for name, count in zip(names, counts, strict=True)]
        return f", of runs: {listed(each)}"

    def _taken(self) -> dict[Path, tuple[int, int]]:
        """Episodes that are taken of each run, and those that it holds."""
        bounds = np.cumsum([0, *(part.num_episodes for part in self.parts)])
        each = np.diff(np.searchsorted(self.index, bounds)).tolist()
        counts: dict[Path, tuple[int, int]] = {}
        for part, got in zip(self.parts, each, strict=True):
            taken, held = counts.get(part.file.parent, (0, 0))
            counts[part.file.parent] = (taken + got, held + part.num_episodes)
        return counts

    def _lack(self) -> str:
        short = self.wanted - len(self.index)
        return f", {short} fewer than dataset.num_episodes={self.wanted}" if short > 0 else ""

    def fingerprint(self) -> list[str]:
        """Sums of the files and of the choice among their episodes; paths don't matter."""
        chosen = hashlib.sha256(self.index.astype("<i8").tobytes()).hexdigest()
        return [*(_sum(part.file) for part in self.parts), chosen]


def _sum(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def select(config: OfflineDataConfig, task: str, layout: Layout) -> Selection:
    """The episodes of one task that `config` asks for; reads no episode.

    medium-expert is its own folder where there is one, else half medium and half expert. Raises
    LabError for missing folders and files, and for whatever `probe` refuses.
    """
    root = Path(config.path).expanduser() / task
    own = root / config.quality
    mixed = config.quality == "medium-expert" and not own.is_dir()
    folders = (root / "medium", root / "expert") if mixed else (own,)
    there = [_found(folder, (Path(config.path).expanduser(), root)) for folder in folders]
    files = [_last_run(found) if config.runs == "last" else found for found in there]
    parts = probe([file for of_folder in files for file in of_folder], layout)
    held = _held(files, parts)
    index = [
        _choose(config, num, _share(config.num_episodes, held, position), position)
        + sum(held[:position])
        for position, num in enumerate(held)
    ]
    left_out = {file.parent for found in there for file in found}
    left_out -= {part.file.parent for part in parts}
    return Selection(
        layout,
        folders,
        tuple(parts),
        np.concatenate(index),
        config.num_episodes,
        tuple(sorted(left_out)),
    )


def _found(folder: Path, above: Sequence[Path]) -> list[Path]:
    """The parts of a quality. Where there is none but data of another project lie there or above,
    the refusal says how to convert them."""
    try:
        return find_parts(folder)
    except LabError as error:
        for place in (*above, folder, *folder.glob("*")):
            if kind := foreign.kind_of(place):
                raise LabError(f"{error}; {foreign.advice(place, kind)}") from error
        raise


def _last_run(files: Sequence[Path]) -> list[Path]:
    """The parts of the last run by name, as `find_parts` sorts them."""
    return [file for file in files if file.parent == files[-1].parent]


def _held(files: Sequence[Sequence[Path]], parts: Sequence[Part]) -> list[int]:
    """Episodes of each folder."""
    by_file = {part.file: part.num_episodes for part in parts}
    return [sum(by_file[file] for file in of_folder) for of_folder in files]


def _share(num_episodes: int, held: Sequence[int], position: int) -> int:
    """Episodes that a folder gives: all folders the same number, an odd one more from the first;
    no more than the smallest of them holds."""
    most = min(held)
    if num_episodes == 0:
        return most
    wanted = (num_episodes - position + len(held) - 1) // len(held)
    return min(wanted, most)


def _choose(config: OfflineDataConfig, num: int, wanted: int, position: int) -> np.ndarray:
    """[wanted] ascending numbers below `num`."""
    if config.choose == "random":
        rng = np.random.default_rng([config.data_seed, position])
        return np.sort(rng.choice(num, wanted, replace=False))
    start = num - wanted if config.choose == "last" else 0
    return np.arange(start, start + wanted)

"""Which episodes of a user's files a run takes."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from labrun.errors import LabError

from lab_marl.datasets.config import OfflineDataConfig
from lab_marl.episodes import hdf5_reader
from lab_marl.episodes.episodes import Episodes
from lab_marl.episodes.hdf5_files import Part, find_parts, probe
from lab_marl.episodes.layouts import Layout


@dataclass(frozen=True)
class Selection:
    """Episodes at `index`, ascending, counted through all parts."""

    layout: Layout
    folders: tuple[Path, ...]
    parts: tuple[Part, ...]
    index: np.ndarray

    @property
    def flagged(self) -> bool:
        """Whether the files say where an episode was cut off."""
        return self.parts[0].has_truncated

    @property
    def total(self) -> int:
        return sum(part.num_episodes for part in self.parts)

    def describe(self) -> str:
        places = " and ".join(map(str, self.folders))
        return f"{len(self.index)} of {self.total} episodes in {len(self.parts)} file(s): {places}"

    def read(self) -> Episodes:
        return hdf5_reader.read([part.file for part in self.parts], self.layout, self.index)

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
    LabError for missing folders and files, for whatever `probe` refuses, and for too few episodes.
    """
    root = Path(config.path).expanduser() / task
    own = root / config.quality
    mixed = config.quality == "medium-expert" and not own.is_dir()
    folders = (root / "medium", root / "expert") if mixed else (own,)
    files = [find_parts(folder) for folder in folders]
    parts = probe([file for listed in files for file in listed], layout)
    held = _held(files, parts)
    index: list[np.ndarray] = []
    for position, (folder, num) in enumerate(zip(folders, held, strict=True)):
        wanted = _share(config.num_episodes, held, position)
        if wanted > num:
            raise LabError(
                f"dataset.num_episodes={config.num_episodes}: {folder} holds {num} of the {wanted} "
                "episodes that it must give; num_episodes=0 takes what is there"
            )
        index.append(_choose(config, num, wanted, position) + sum(held[:position]))
    return Selection(layout, folders, tuple(parts), np.concatenate(index))


def _held(files: Sequence[Sequence[Path]], parts: Sequence[Part]) -> list[int]:
    """Episodes of each folder."""
    by_file = {part.file: part.num_episodes for part in parts}
    return [sum(by_file[file] for file in listed) for listed in files]


def _share(num_episodes: int, held: Sequence[int], position: int) -> int:
    """Episodes that a folder gives: all folders the same number, an odd one more from the first."""
    if num_episodes == 0:
        return min(held)
    return (num_episodes - position + len(held) - 1) // len(held)


def _choose(config: OfflineDataConfig, num: int, wanted: int, position: int) -> np.ndarray:
    """[wanted] ascending numbers below `num`."""
    if config.choose == "random":
        rng = np.random.default_rng([config.data_seed, position])
        return np.sort(rng.choice(num, wanted, replace=False))
    start = num - wanted if config.choose == "last" else 0
    return np.arange(start, start + wanted)

"""From files to the data of one task: in memory, or read as they are needed."""

import math
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from labrun.errors import LabError

from lab_marl.behaviours.tiers import Progress
from lab_marl.datasets.suites import Timeouts
from lab_marl.episodes import checks, hdf5_reader
from lab_marl.episodes.buffered import Buffer, BufferedEpisodes, FileBlocks
from lab_marl.episodes.episodes import Episodes
from lab_marl.episodes.hdf5_files import Part
from lab_marl.episodes.layouts import Layout
from lab_marl.episodes.offline_data import TaskData, end_at_timeouts

GIB = 2**30
GROUP = 2**24
"""Bytes that a pass over all episodes reads at once."""

CHECKED = GIB
"""Bytes in memory of a task's episodes up to which a plan checks their content."""


@dataclass
class CutOff:
    """How many episodes were cut off."""

    num: int = 0
    cut: int = 0
    untold: int = 0
    """Of these, those of which the files do not say it."""

    def add(self, stored: Episodes, ended: Episodes) -> None:
        """Counts episodes as the files have them and as `end_at_timeouts` left them."""
        self.num += len(stored)
        self.cut += int(ended.truncated.any(1).sum())
        self.untold += int((ended.truncated & ~stored.truncated).any(1).sum())

    def describe(self, *, flagged: bool) -> str:
        text = f"{self.cut} of {self.num} cut off"
        if not flagged:
            return f"{text}, told by their length"
        return f"{text}, {self.untold} of them told by their length" if self.untold else text


@dataclass(frozen=True)
class Source:
    """The episodes of one task, in files that are there."""

    layout: Layout
    parts: tuple[Part, ...]
    index: np.ndarray
    """Ascending, counted through all parts."""
    timeouts: Timeouts

    @property
    def flagged(self) -> bool:
        """Whether the files say where an episode was cut off."""
        return self.parts[0].has_truncated

    @cached_property
    def blocks(self) -> FileBlocks:
        return FileBlocks(self.parts, self.index, self.layout)

    @property
    def nbytes(self) -> int:
        """Bytes that the episodes take in memory at most."""
        return int(self.blocks.nbytes.sum())

    def ended(self, episodes: Episodes) -> Episodes:
        """The episodes with their ends as `timeouts` says."""
        limit = self.layout.episode_limit
        return end_at_timeouts(episodes, limit, timeouts=self.timeouts, flagged=self.flagged)

    def in_memory(self) -> tuple[TaskData, CutOff]:
        """All episodes. Raises LabError where one holds what cannot be."""
        stored = hdf5_reader.read([part.file for part in self.parts], self.layout, self.index)
        ended, cut = self.ended(stored), CutOff()
        self._check_valued(ended, self.index)
        cut.add(stored, ended)
        return TaskData(self.layout, ended), cut

    def buffered(self, buffer: Buffer, progress: Progress) -> tuple[TaskData, CutOff]:
        """Episodes that stay in their files. All are read once, some at a time. Raises LabError
        where one holds what cannot be, or a chunk takes more than the buffer."""
        self.check_room(buffer.limit)
        lengths, cut = [], CutOff()
        for stored, ended in self.passed(limit=min(GROUP, buffer.limit)):
            lengths.append(stored.lengths)
            cut.add(stored, ended)
            progress(self.layout.task, cut.num, len(self.index))
        episodes = BufferedEpisodes(
            self.layout, self.blocks, np.concatenate(lengths), ended=self.ended, buffer=buffer
        )
        return TaskData(self.layout, episodes), cut

    def passed(self, *, limit: int) -> Iterator[tuple[Episodes, Episodes]]:
        """All episodes in parts of about `limit` bytes, as the files have them and with their ends
        set. Raises LabError where one holds what cannot be."""
        done = 0
        for block in self.blocks.groups(limit=limit):
            stored = hdf5_reader.read_rows(block.part, block.rows, self.layout)
            ended = self.ended(stored)
            self._check_valued(ended, self.index[done : done + len(block.rows)])
            done += len(block.rows)
            yield stored, ended

    def _check_valued(self, ended: Episodes, numbers: np.ndarray) -> None:
        place = f"data of {self.layout.task} with dataset.timeouts={self.timeouts}"
        checks.check_valued(ended, self.layout, file=place, episodes=numbers)

    def check_room(self, limit: int) -> None:
        """Raises LabError where one chunk of a file takes more than the limit."""
        largest = int(self.blocks.nbytes.argmax())
        need, block = int(self.blocks.nbytes[largest]), self.blocks[largest]
        if need > limit:
            raise LabError(
                f"dataset.memory_limit_gib={limit / GIB:.3g} is less than one chunk of "
                f"{block.part.file} ({len(block.rows)} episodes); "
                f"set at least {math.ceil(need / GIB * 1000) / 1000:g}"
            )


_SOUND: set[Hashable] = set()
"""What was checked in this process: the runs of a sweep share their data."""


def checked(source: Source) -> str:
    """Nothing to say after the content was read; else that it is still to be checked.

    Raises LabError where an episode holds what cannot be.
    """
    if source.nbytes > CHECKED:
        return f", {source.nbytes / GIB:.1f} GiB in memory, checked as the run starts"
    facts = (
        *((part.file, part.file.stat().st_mtime_ns) for part in source.parts),
        source.index.tobytes(),
        source.layout,
        source.timeouts,
    )
    if facts not in _SOUND:
        for _ in source.passed(limit=GROUP):
            pass
        _SOUND.add(facts)
    return ""

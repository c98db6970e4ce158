"""Episodes that stay in their files and are read block by block, through a bounded buffer."""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from lab_marl.episodes import hdf5_reader
from lab_marl.episodes.episodes import Episodes
from lab_marl.episodes.hdf5_files import Part
from lab_marl.episodes.layouts import Layout


@dataclass(frozen=True)
class FileBlock:
    """Episodes of one file that are read at once."""

    part: Part
    rows: np.ndarray
    """Ascending numbers in the file."""


class FileBlocks:
    """The episodes at `index`, ascending and counted through all parts, by the chunk of their file:
    a chunk is unpacked as a whole."""

    def __init__(self, parts: Sequence[Part], index: np.ndarray, layout: Layout) -> None:
        self.parts = parts
        self.rows = np.concatenate(hdf5_reader.rows_by_part(parts, index))
        """[E] numbers in the episodes' files."""
        counted = np.cumsum([part.num_episodes for part in parts])
        self._files = np.searchsorted(counted, index, side="right")
        chunks = self.rows // np.array([part.chunk for part in parts])[self._files]
        begins = np.ones(len(index), bool)
        begins[1:] = (np.diff(chunks) != 0) | (np.diff(self._files) != 0)
        self.starts = np.flatnonzero(begins)
        """[blocks] the first episode of each."""
        frames = np.array([part.frames for part in parts])[self._files[self.starts]]
        sizes = np.diff(self.starts, append=len(self.rows))
        self.nbytes = sizes * frames * hdf5_reader.empty(layout, 1, 1).nbytes
        """[blocks] bytes that the episodes of each take in memory at most."""

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, number: int) -> FileBlock:
        after = self.starts[number + 1 : number + 2]
        return self.span(int(self.starts[number]), int(after[0]) if len(after) else len(self.rows))

    def span(self, start: int, stop: int) -> FileBlock:
        """The episodes from `start` up to `stop`, all of one file."""
        return FileBlock(self.parts[self._files[start]], self.rows[start:stop])

    def groups(self, *, limit: int) -> Iterator[FileBlock]:
        """All episodes in larger blocks, for a pass over them: each of one file and of at most
        `limit` bytes, unless a chunk is larger."""
        begin, size = 0, 0
        for start, more in zip(self.starts.tolist(), self.nbytes.tolist(), strict=True):
            if start > begin and (size + more > limit or self._files[start] != self._files[begin]):
                yield self.span(begin, start)
                begin, size = start, 0
            size += more
        if len(self):
            yield self.span(begin, len(self.rows))


class Buffer:
    """The blocks that were used last: `limit` bytes of them at most, over all tasks of a run."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.held = 0
        """Bytes."""
        self._blocks: OrderedDict[object, Episodes] = OrderedDict()

    def get(self, key: object, read: Callable[[], Episodes], *, nbytes: int) -> Episodes:
        """The block of this key; `read` where it is not held, after room for `nbytes` was made."""
        if key in self._blocks:
            self._blocks.move_to_end(key)
            return self._blocks[key]
        while self._blocks and self.held + nbytes > self.limit:
            self.held -= self._blocks.popitem(last=False)[1].nbytes
        block = self._blocks[key] = read()
        self.held += block.nbytes
        return block


class BufferedEpisodes:
    """Episodes of one task in their files; `take` gives what those in memory would give."""

    def __init__(
        self,
        layout: Layout,
        blocks: FileBlocks,
        lengths: np.ndarray,
        *,
        ended: Callable[[Episodes], Episodes],
        buffer: Buffer,
    ) -> None:
        """`lengths` [E] are frames of each episode; `ended` sets the ends of a block's episodes."""
        self.layout, self.lengths = layout, lengths
        self._blocks, self._ended, self._buffer = blocks, ended, buffer

    def __len__(self) -> int:
        return len(self.lengths)

    def take(self, index: np.ndarray, *, frames: int) -> Episodes:
        """The episodes at `index`, in that order, up to a frame; each block is asked for once."""
        taken = hdf5_reader.empty(self.layout, len(index), frames)
        starts = self._blocks.starts
        numbers = np.searchsorted(starts, index, side="right") - 1
        for number in np.unique(numbers):
            places = np.flatnonzero(numbers == number)
            block = self._block(int(number))
            for (_, into), (_, values) in zip(taken.arrays(), block.arrays(), strict=True):
                part = values[index[places] - starts[number], :frames]
                into[places, : part.shape[1]] = part
        return taken

    def _block(self, number: int) -> Episodes:
        block = self._blocks[number]
        return self._buffer.get(
            (self.layout.task, number),
            lambda: self._ended(hdf5_reader.read_rows(block.part, block.rows, self.layout)),
            nbytes=int(self._blocks.nbytes[number]),
        )

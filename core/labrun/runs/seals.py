"""Seals of events.jsonl: how many of its bytes were on disk at a moment, and their SHA-256.

A checkpoint's manifest holds one, status.json that of the last ending. The events of a run without
any, as earlier versions left it, are read as they stand.
"""

import dataclasses
import hashlib
import os
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from labrun.errors import LabError
from labrun.system import regular_files
from labrun.system.json_files import reason

CHUNK = 1 << 20


@dataclasses.dataclass(frozen=True)
class Seal:
    """The first `bytes` bytes of the file and their hash."""

    bytes: int
    sha256: str


class DamagedError(LabError):
    """A file of the run directory is not what the run wrote."""


class Sealing:
    """Hashes a file that grows; each seal reads only what is new."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._digest = hashlib.sha256()
        self._bytes = 0

    def seal(self) -> Seal:
        """The seal of the whole file, which is on disk. Raises DamagedError where it was cut."""
        if not self._path.exists() and self._bytes == 0:
            return Seal(0, self._digest.hexdigest())
        if self._path.stat().st_size < self._bytes:
            raise DamagedError(f"{self._path} was cut while the run wrote it; `lab resume` it")
        with regular_files.opened(self._path) as lines:
            lines.seek(self._bytes)
            while chunk := lines.read(CHUNK):
                self._digest.update(chunk)
                self._bytes += len(chunk)
            os.fsync(lines.fileno())
        return Seal(self._bytes, self._digest.hexdigest())


def read_seal(value: Any) -> Seal | None:
    """The seal written as JSON; None where there is none. Raises ValueError for anything else."""
    if value is None:
        return None
    match value:
        case {"bytes": int(size), "sha256": str(digest)} if size >= 0:
            return Seal(size, digest)
    raise ValueError("the seal of events.jsonl is none")


def that_hold(path: Path, seals: Collection[Seal]) -> set[Seal]:
    """Those whose bytes are as they were sealed; the file is read once."""
    held: set[Seal] = set()
    digest, place = hashlib.sha256(), 0
    try:
        with regular_files.opened(path) as lines:
            for seal in sorted(seals, key=lambda one: one.bytes):
                while place < seal.bytes and (chunk := lines.read(min(CHUNK, seal.bytes - place))):
                    digest.update(chunk)
                    place += len(chunk)
                if place == seal.bytes and digest.hexdigest() == seal.sha256:
                    held.add(seal)
    except FileNotFoundError:
        return {seal for seal in seals if seal.bytes == 0}
    except OSError:
        return set()
    return held


def sealed_lines(path: Path, seal: Seal | None, *, whole: bool) -> Iterator[bytes]:
    """The file's lines, hashed as they are read.

    Raises DamagedError after the last one where the seal does not hold; at once where the file
    cannot be read, or is longer than its seal although that is of the `whole` file.
    """
    if seal is not None and whole and (fault := _added(path, seal)):
        raise DamagedError(fault)
    digest, place, left = hashlib.sha256(), 0, seal.bytes if seal else 0
    for lines in _blocks(path):
        yield from lines
        size = sum(map(len, lines))
        place += size
        if left > 0:
            digest.update(b"".join(lines)[:left])
            left -= min(left, size)
    if seal is None:
        return
    if left > 0:
        raise _damaged(path, f"{place} of its {seal.bytes} bytes are left")
    if digest.hexdigest() != seal.sha256:
        raise _damaged(path, "its bytes are not those that the run wrote")
    if whole and place > seal.bytes:
        raise _damaged(path, f"{place - seal.bytes} bytes were added when the run was done")


def size_fault(path: Path, seal: Seal, *, whole: bool) -> str | None:
    """What the file's size alone says against its seal, or None; nothing is read."""
    try:
        size = path.stat().st_size if path.is_file() else 0
    except OSError as error:
        return f"{path} cannot be read: {reason(error)}"
    if size < seal.bytes:
        return f"{path} is damaged: {size} of its {seal.bytes} bytes are left"
    if whole and size > seal.bytes:
        return f"{path} is damaged: {size - seal.bytes} bytes were added when the run was done"
    return None


def _added(path: Path, seal: Seal) -> str | None:
    """What the size of a file says that is longer than its seal, which may be without end."""
    try:
        longer = path.is_file() and path.stat().st_size > seal.bytes
    except OSError:
        return None
    return size_fault(path, seal, whole=True) if longer else None


def _blocks(path: Path) -> Iterator[list[bytes]]:
    """The file's lines, about CHUNK bytes of them at a time."""
    try:
        with regular_files.opened(path) as file:
            while lines := file.readlines(CHUNK):
                yield lines
    except FileNotFoundError:
        return
    except OSError as error:
        raise DamagedError(f"{path} cannot be read: {reason(error)}") from error


def _damaged(path: Path, why: str) -> DamagedError:
    return DamagedError(f"{path} is damaged: {why}")

"""A full disk: how it is told from other faults, and how a short one is waited out."""

import errno
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from labrun.errors import causes_of, text_of

FULL = (errno.ENOSPC, errno.EDQUOT)
WORDS = ("no space left", "os error 28", "disk quota exceeded")
NEARLY_NOTHING = 1 << 20
"""Bytes; libraries that write in blocks fail with less than this free, some without the reason."""
WAIT_S = 60.0
"""Seconds for which a small write waits for room: another run's draft may be removed."""
PAUSE_S = 0.2
APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC


def is_full(folder: Path, error: BaseException) -> bool:
    """Whether this error came of a full disk. Ask before anything is removed."""
    if any(_says_full(one) for one in _chain(error)):
        return True
    writing = isinstance(error, OSError) and error.errno is None
    return (writing or isinstance(error, RuntimeError)) and _free(folder) < NEARLY_NOTHING


def full(folder: Path) -> OSError:
    """The error of a full disk, as the system would raise it."""
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))


def patiently(write: Callable[[], object], *, wait_s: float = WAIT_S) -> None:
    """Write; where the disk is full, try again for `wait_s` seconds. `write` leaves no half."""
    give_up = time.monotonic() + wait_s
    while True:
        try:
            write()
            return
        except OSError as error:
            if error.errno not in FULL or time.monotonic() > give_up:
                raise
        time.sleep(PAUSE_S)


def append(path: str | Path, data: bytes) -> None:
    """Append all of it or nothing, to a file that no other process writes. The kernel has it when
    this returns: it outlives the process, and readers on other machines see it."""
    handle = os.open(path, APPEND, 0o666)
    written = 0
    try:
        written = os.write(handle, data)
        while written < len(data):
            written += os.write(handle, data[written:])
    except OSError:
        os.ftruncate(handle, os.fstat(handle).st_size - written)
        raise
    finally:
        os.close(handle)


def _says_full(error: BaseException) -> bool:
    if isinstance(error, OSError) and error.errno in FULL:
        return True
    text = text_of(error).lower()
    return any(word in text for word in WORDS)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error, those that it came of, and those of their groups."""
    link: BaseException | None = error
    while link is not None:
        yield from causes_of(link)
        link = link.__cause__ or link.__context__


def _free(folder: Path) -> int:
    try:
        stat = os.statvfs(folder)
    except OSError:
        return NEARLY_NOTHING
    return stat.f_bavail * stat.f_frsize

"""Files are opened only where they are files: a pipe in one's place would hold up its reader for
ever, and a device might never end."""

import errno
import os
import stat
from io import BufferedReader, BufferedWriter
from pathlib import Path
from typing import Literal


def opened(path: Path | str) -> BufferedReader:
    """The file, to read. Raises OSError, also where a pipe, a socket or a device lies in its
    place."""
    return open(path, "rb", opener=_open)


def opened_to_write(path: Path | str, mode: Literal["wb", "ab"]) -> BufferedWriter:
    """The file, to write. Raises OSError as `opened` does."""
    return open(path, mode, opener=_open)


def content(path: Path | str) -> bytes:
    """All of the file. Raises OSError as `opened` does."""
    with open(path, "rb", buffering=0, opener=_open) as file:
        return file.read()


def is_other(path: Path) -> bool:
    """Whether something lies there that is neither a file nor a directory. Raises OSError."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _open(path: str, flags: int) -> int:
    """A directory is left to `open`, which names it."""
    handle = os.open(path, flags | os.O_NONBLOCK, 0o666)
    mode = os.fstat(handle).st_mode
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
        return handle
    os.close(handle)
    raise OSError(errno.EINVAL, "Not a regular file", path)

"""Files are opened only where they are files: a pipe in one's place would hold up its reader for
ever, and a device might never end."""

import errno
import os
import stat
from io import BufferedReader, BufferedWriter
from pathlib import Path
from typing import Literal

MOST_BYTES = 64 << 20
"""Of a file that is read as a whole: labrun writes none of this size, and a command that reads one
would hang or run out of memory."""


def opened(path: Path | str) -> BufferedReader:
    """The file, to read. Raises OSError, also where a pipe, a socket or a device lies in its
    place."""
    return open(path, "rb", opener=_open)


def opened_to_write(path: Path | str, mode: Literal["wb", "ab"]) -> BufferedWriter:
    """The file, to write. Raises OSError as `opened` does."""
    return open(path, mode, opener=_open)


def content(path: Path | str) -> bytes:
    """All of a small file. Raises OSError as `opened` does, and for one of more than MOST_BYTES."""
    with open(path, "rb", buffering=0, opener=_open) as file:
        if os.fstat(file.fileno()).st_size > MOST_BYTES:
            raise OSError(errno.EFBIG, f"Larger than {MOST_BYTES >> 20} MiB", str(path))
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

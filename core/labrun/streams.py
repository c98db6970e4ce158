"""Standard output and error that never end the process that writes to them."""

import io
import os
import sys
from typing import TextIO


class _Lasting(io.FileIO):
    """A stream whose reader may go, and whose disk may be full: what cannot be written is lost."""

    def write(self, data: "io.ReadableBuffer", /) -> int:  # pyright: ignore
        try:
            return super().write(data) or memoryview(data).nbytes
        except OSError:
            return memoryview(data).nbytes


def keep() -> None:
    """Let no closed pipe, full disk, closed terminal or character that the terminal lacks raise."""
    _open_missing()
    if sys.stdout is sys.__stdout__:  # and not what somebody put in its place
        sys.stdout = _lasting(sys.stdout, 1)
    if sys.stderr is sys.__stderr__:
        sys.stderr = _lasting(sys.stderr, 2)


def _open_missing() -> None:
    """Open what was closed, so that no file of a run gets the number of standard output."""
    for handle in (0, 1, 2):
        try:
            os.fstat(handle)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def _lasting(stream: TextIO | None, handle: int) -> TextIO:
    encoding = stream.encoding if stream is not None else "utf-8"
    by_line = handle == 2 or os.isatty(handle)
    raw = io.BufferedWriter(_Lasting(handle, "w", closefd=False))
    return io.TextIOWrapper(raw, encoding, errors="backslashreplace", line_buffering=by_line)

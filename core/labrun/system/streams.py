"""Standard output and error that never end the process that writes to them."""

import atexit
import contextlib
import io
import os
import queue
import sys
import threading
from collections.abc import Iterator
from typing import TextIO

MOST_WAITING = 1000
"""Writes that wait for a reader that has stopped; further ones are lost."""
PATIENCE_S = 1.0
"""Seconds that such a reader has at the end."""


class _Lasting(io.FileIO):
    """A stream that never raises: what a gone reader or a full disk does not take is lost."""

    aside: "_Aside | None" = None

    def write(self, data: "io.ReadableBuffer", /) -> int:  # pyrefly: ignore[missing-attribute]
        if self.aside is not None:
            self.aside.put(bytes(data))
        else:
            self.write_now(data)
        return memoryview(data).nbytes

    def write_now(self, data: "io.ReadableBuffer") -> None:  # pyrefly: ignore[missing-attribute]
        """Write, however long the reader takes; after a Ctrl-C the rest is lost."""
        left = memoryview(data)
        try:
            while left.nbytes and (written := super().write(left)):
                left = left[written:]
        except OSError:
            return
        except KeyboardInterrupt:
            self.aside = _Aside(self)
            raise


class _Aside:
    """A thread that writes to a stream, so that its reader holds up this thread alone."""

    def __init__(self, stream: _Lasting) -> None:
        self._stream = stream
        self._waiting: queue.SimpleQueue[bytes] = queue.SimpleQueue()  # signal handlers write, too
        self._thread = threading.Thread(target=self._write_all, daemon=True)
        self._thread.start()

    def put(self, data: bytes) -> None:
        if data and self._waiting.qsize() < MOST_WAITING:
            self._waiting.put(data)

    def end(self) -> bool:
        """Whether all was written within PATIENCE_S."""
        self._waiting.put(b"")
        self._thread.join(PATIENCE_S)
        return not self._thread.is_alive()

    def wait(self) -> None:
        """Wait until all is written, however long the reader takes."""
        self._thread.join()

    def _write_all(self) -> None:
        while data := self._waiting.get():
            self._stream.write_now(data)


@contextlib.contextmanager
def unheld() -> Iterator[None]:
    """While entered, a reader that stops (Ctrl-S, a pager, a pipe that nobody reads) holds up
    nothing. At the end it is waited for as ever, and not at all where an error ends the block."""
    streams = [stream for text in (sys.stdout, sys.stderr) if (stream := _raw(text))]
    for stream in streams:
        stream.aside = _Aside(stream)
    try:
        yield
    except BaseException:
        atexit.register(_end, streams)  # what this process still says has its time, too
        raise
    for stream, aside in _end(streams).items():
        aside.wait()
        stream.aside = None


def _end(streams: "list[_Lasting]") -> "dict[_Lasting, _Aside]":
    """The streams whose reader did not take the waiting writes in time; the others are put back."""
    for text in (sys.stdout, sys.stderr):
        text.flush()
    asides = {stream: stream.aside for stream in streams if stream.aside is not None}
    held = {stream: aside for stream, aside in asides.items() if not aside.end()}
    for stream in asides.keys() - held.keys():
        stream.aside = None
    return held


def _raw(text: TextIO) -> _Lasting | None:
    """The stream below this one, where `keep` put it there."""
    raw = getattr(getattr(text, "buffer", None), "raw", None)
    return raw if isinstance(raw, _Lasting) else None


def keep() -> None:
    """Let no closed pipe, full disk, closed terminal or character that the terminal lacks raise."""
    _open_missing()
    if sys.stdout is sys.__stdout__:  # and not what somebody put in its place
        sys.stdout = _lasting(sys.stdout, 1)
    if sys.stderr is sys.__stderr__:
        sys.stderr = _lasting(sys.stderr, 2)


def _open_missing() -> None:
    """Open closed standard streams, so that no file of a run gets their numbers."""
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

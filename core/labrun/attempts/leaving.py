"""How a run's process exits once the run has ended, and what holds up one that does not."""

import atexit
import ctypes
import time
from dataclasses import dataclass, field
from pathlib import Path

from labrun.system import processes

PR_SET_NAME = 15
NAME = "lab-teardown"
"""Name that a worker gives its process once no Python thread runs any more."""
BUSY = 6.0
"""A process that still works has this many times as long: teardown is slow under load."""
RUNS = (b"R", b"D")
"""States of a process that works, or waits for its turn or for a disk."""


def announce() -> None:
    """Let this process say in its name when its threads have ended: what is registered last for
    the exit is called first, after the interpreter has joined them."""
    atexit.register(ctypes.CDLL(None).prctl, PR_SET_NAME, NAME.encode(), 0, 0, 0)


@dataclass
class Leaving:
    """What a command sees of a worker, at each look, after its run has ended."""

    process: str
    """The worker's identity."""
    _began: float = field(default_factory=time.monotonic)
    _idle_since: float = field(default_factory=time.monotonic)
    _gone_since: float | None = None
    _ticks: int = -1

    def overdue(self, patience_s: float) -> str:
        """What holds it up, where it has done nothing for so long, or worked for BUSY times as
        long; empty before."""
        now = time.monotonic()
        facts = _facts(self.process)
        if facts is None:
            gone = "it is gone, and something that it started is not"
            self._gone_since = self._gone_since or now
            return gone if now - self._gone_since > patience_s else ""
        state, ticks, threads = facts
        if ticks != self._ticks or state in RUNS:
            self._ticks, self._idle_since = ticks, now
        if now - self._idle_since > patience_s:
            return f"{self._held_by(threads)}, and it used no CPU time"
        if now - self._began > BUSY * patience_s:
            return f"{self._held_by(threads)}, and it still used CPU time"
        return ""

    def _held_by(self, threads: int) -> str:
        if _name(self.process) == NAME:
            return "its threads had ended and its libraries had not"
        others = threads - 1
        if others == 0:
            return "its only thread had not come to its end"
        return f"{others} thread{'s' if others > 1 else ''} beside its main one still ran"


def _facts(process: str) -> tuple[bytes, int, int] | None:
    """State, CPU time in the kernel's ticks and threads of the process; None where it is gone."""
    if not processes.is_alive(process):
        return None
    try:
        stat = _file(process, "stat").read_bytes()
    except OSError:
        return None
    cells = stat.rpartition(b")")[2].split()
    return cells[0], int(cells[11]) + int(cells[12]), int(cells[17])


def _name(process: str) -> str:
    try:
        return _file(process, "comm").read_text().strip()
    except OSError:
        return ""


def _file(process: str, name: str) -> Path:
    return Path("/proc") / process.partition("@")[0] / name

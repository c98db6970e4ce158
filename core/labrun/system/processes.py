"""The identity of processes, which no jump of the clock changes, and who has a file open."""

import os
import signal
from contextlib import suppress
from functools import cache
from pathlib import Path

STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)
"""Signals that ask for a checkpoint and the end; schedulers warn by SIGUSR1."""
LONGEST_COMMAND = 120
SUPERVISOR = "labrun/launch/supervisor.py"
DETACHED = "-m labrun.launch.job"


def identity(pid: int) -> str:
    """`PID@START@BOOT` of a running process, with the kernel's ticks and the boot's id; empty where
    there is none.

    Raises nothing: a process may end at any moment.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return ""
    if fields[0] in (b"Z", b"X"):
        return ""
    return f"{pid}@{int(fields[19])}@{_boot()}"


def me() -> str:
    """The identity of this process."""
    return identity(os.getpid())


def is_alive(process: str) -> bool:
    """Whether the process of this identity still runs."""
    pid = process.partition("@")[0]
    return pid.isdigit() and identity(int(pid)) == process


def end_job(process: str, *, now: bool) -> None:
    """Ask the worker of this identity to stop; or let its supervisor end it at once, with all that
    it has started."""
    if not is_alive(process):
        return
    pid = int(process.partition("@")[0])
    with suppress(ProcessLookupError):
        if now and SUPERVISOR in _words(parent := _parent(pid)):
            os.kill(parent, signal.SIGUSR2)
        else:
            os.kill(pid, signal.SIGKILL if now else signal.SIGTERM)


def holders(path: Path) -> list[str]:
    """Each process that has the file open, by pid and command; other users' are not seen."""
    return [_named(pid) for pid in _open_in(path)]


def is_only_supervised(lock: Path, *, detached: bool = False) -> bool:
    """Whether the supervisors of jobs hold the lock, and no command does: it was killed, and they
    end their jobs. `detached`: or the processes of `lab run --detach`. One that is ending has no
    words any more."""
    programs = (SUPERVISOR, DETACHED) if detached else (SUPERVISOR,)
    found = _open_in(lock)
    words = [_words(pid) for pid in found]
    return bool(words) and all(not text or any(name in text for name in programs) for text in words)


def _open_in(path: Path) -> list[int]:
    """The pids of the other processes that have the file open."""
    try:
        wanted = path.stat()
    except OSError:
        return []
    file = wanted.st_dev, wanted.st_ino
    pids = map(int, filter(str.isdigit, os.listdir("/proc")))
    return [pid for pid in pids if pid != os.getpid() and _has_open(pid, file)]


def _has_open(pid: int, file: tuple[int, int]) -> bool:
    folder = f"/proc/{pid}/fd"
    try:
        for handle in os.listdir(folder):
            stat = os.stat(f"{folder}/{handle}")
            if (stat.st_dev, stat.st_ino) == file:
                return True
    except OSError:
        return False
    return False


def _parent(pid: int) -> int:
    """The pid of the process's parent; 0 where it has ended."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[1])
    except OSError:
        return 0


def _named(pid: int) -> str:
    words = _words(pid)
    return f"pid {pid}" + (f" ({words[:LONGEST_COMMAND]})" if words else "")


def _words(pid: int) -> str:
    """The process's command line; empty where it has ended."""
    try:
        line = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return ""
    return line.replace(b"\0", b" ").decode(errors="replace").strip()


@cache
def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()

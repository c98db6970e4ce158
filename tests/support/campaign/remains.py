"""What outlives a command: processes, and locks that somebody still holds."""

import os
import signal
import time
from collections.abc import Iterable
from pathlib import Path

from campaign.commands import processes_of

PATIENCE_S = 30.0
POLL_S = 0.05


def left_processes(folder: Path, *, patience_s: float = PATIENCE_S) -> list[str]:
    """The processes of the trial that do not end by themselves, each named; they are killed."""
    until = time.monotonic() + patience_s
    while (processes := processes_of(folder)) and time.monotonic() < until:
        time.sleep(POLL_S)
    names = []
    for process in processes:
        names.append(f"{process.pid} {_words(process.pid)}")
        process.send_signal(signal.SIGKILL)
    return names


def left_locks(folder: Path, *, pids: Iterable[int], patience_s: float = PATIENCE_S) -> list[str]:
    """The locks on files of the trial, and those that one of these processes took.

    The kernel gives a killed process's memory back before its locks.
    """
    takers, until = set(pids), time.monotonic() + patience_s
    while (locks := _locks(folder, takers)) and time.monotonic() < until:
        time.sleep(POLL_S)
    return locks


def _locks(folder: Path, takers: set[int]) -> list[str]:
    files = {_key(path): path for path in folder.rglob("*") if path.is_file()}
    found = []
    for line in Path("/proc/locks").read_text().splitlines():
        words = line.split()
        if "->" in words:  # waits for the lock of another line
            continue
        pid, (major, minor, inode) = int(words[4]), words[5].split(":")
        key = (int(major, 16), int(minor, 16), int(inode))
        if key in files or pid in takers:
            found.append(f"{files.get(key, f'inode {inode}')} by {pid}")
    return found


def _key(path: Path) -> tuple[int, int, int]:
    try:
        facts = path.stat()
    except FileNotFoundError:
        return (0, 0, 0)
    return (os.major(facts.st_dev), os.minor(facts.st_dev), facts.st_ino)


def _words(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
    except OSError:
        return "(gone)"

"""Who holds a lease's lock: what its file says, and what the kernel says."""

import fcntl
import json
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from labrun.errors import shown

MARK = "labrun lease"
"""First key of the text in a lock file: what this file locks."""


def lock(handle: int, kind: int) -> bool:
    """Whether the open file could be locked at once."""
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def record_of(handle: int) -> dict[str, Any]:
    """What the lock file says of its lease; empty where it says nothing."""
    try:
        read = json.loads(os.pread(handle, 4096, 0))
    except (OSError, ValueError):
        return {}
    return read if isinstance(read, dict) else {}


def holder_of(handle: int) -> str:
    """Who holds the lock: the lease that the file names, or the process that the kernel names."""
    record, pid = record_of(handle), _locking_process(os.fstat(handle))
    if record.get("holder") and pid in (0, record.get("pid")):
        return str(record["holder"])
    return _process(pid) if pid else "a process of another container or user"


def _locking_process(info: os.stat_result) -> int:
    """The process that took the lock, by /proc/locks; 0 where it does not show one."""
    device = f"{os.major(info.st_dev):02x}:{os.minor(info.st_dev):02x}:{info.st_ino}"
    with suppress(OSError, ValueError):
        for line in Path("/proc/locks").read_text().splitlines():
            cells = line.split()
            if device in cells and "->" not in cells:
                return int(cells[cells.index(device) - 1])
    return 0


def _process(pid: int) -> str:
    import psutil  # 15 ms, at the start of every command that starts jobs

    try:
        process = psutil.Process(pid)
        words = shown(" ".join(process.cmdline()) or process.name(), limit=80)
        return f"process {pid} ({words}) of user {process.username()}"
    except psutil.Error:
        return f"process {pid}"


def strays(folder: Path) -> dict[str, str]:
    """Lock -> holder, of this folder's locks that are held through a file which lies there no more.

    Only this user's processes are seen, and none of another container.
    """
    home = os.path.realpath(folder)
    found: dict[str, str] = {}
    for link in _open_lock_files():
        record = _held_record(link)
        place, name = os.path.split(str(record.get(MARK, "")))
        if place == home and not _is_same(link, folder / name):
            found[name] = f"{record.get('holder')} (its lock file was removed)"
    return found


def _open_lock_files() -> Iterator[str]:
    """The entry in /proc of each open file of this user whose name holds `.lock`."""
    for process in filter(str.isdecimal, os.listdir("/proc")):
        with suppress(OSError):
            for number in os.listdir(f"/proc/{process}/fd"):
                link = f"/proc/{process}/fd/{number}"
                with suppress(OSError):
                    if ".lock" in os.readlink(link):
                        yield link


def _held_record(link: str) -> dict[str, Any]:
    """What an open file says of its lease; empty where it is no lease, or is not held."""
    try:
        if not stat.S_ISREG(os.stat(link).st_mode):
            return {}
        handle = os.open(link, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return {}
    try:
        record = record_of(handle)
        return record if MARK in record and not lock(handle, fcntl.LOCK_SH) else {}
    finally:
        os.close(handle)


def _is_same(link: str, path: Path) -> bool:
    try:
        return os.path.samestat(os.stat(link), os.stat(path, follow_symlinks=False))
    except OSError:
        return False

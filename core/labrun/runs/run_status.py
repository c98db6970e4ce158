"""The state of a run: what status.json says, and whether the run's process still lives."""

import dataclasses
import fcntl
import socket
import time
from pathlib import Path
from typing import Any

from labrun.errors import LabError, shown
from labrun.runs import submission
from labrun.runs.seals import Seal
from labrun.runs.signs import BEAT, EVENTS, PROGRESS
from labrun.schema import adapter
from labrun.system import processes, regular_files
from labrun.system.json_files import read_object

SILENCE_S = 900.0
"""Silence after which a run on another host reads as killed."""
ENDED = ("done", "failed", "diverged", "preempted", "hung", "killed", "refused")
STATES = ("queued", "running", *ENDED, "unreadable")
"""What status.json may say; a run whose events were cut reads as `damaged`."""


@dataclasses.dataclass(frozen=True)
class Status:
    """The state of a run; `step` is the last logged one, `message` says why it ended."""

    state: str = "queued"
    attempt: int = 0
    exit_code: int | None = None
    step: int = 0
    message: str = ""
    pid: int | None = None
    host: str = ""
    devices: tuple[str, ...] = ()
    started: float | None = None
    ended: float | None = None
    sealed: Seal | None = None
    """Of events.jsonl, when this attempt or one before it ended."""
    process: str = ""
    """Identity of the process that has the run now: the worker, or the command while it waits."""


def recorded(path: Path) -> Status:
    """What status.json says; `unreadable` if it is damaged."""
    try:
        return _status_of(read_object(path))
    except FileNotFoundError:
        return Status()
    except LabError as error:
        return Status(state="unreadable", message=str(error))
    except ValueError as error:
        return Status(state="unreadable", message=f"{path} is damaged: {error}")


def _status_of(said: dict[str, Any]) -> Status:
    """The status that the file says. Raises ValueError with the name of what is wrong in it."""
    from pydantic import ValidationError

    if missing := [key for key in ("state", "devices") if key not in said]:
        raise ValueError(f"{missing[0]} is missing")
    if said["state"] not in STATES:
        raise ValueError(f"state is {shown(str(said['state']))!r}")
    try:
        return adapter(Status).validate_python(said)
    except ValidationError as error:
        raise ValueError(f"{error.errors()[0]['loc'][0]} is of a wrong kind") from error


def gone(run: Path, status: Status) -> str:
    """Who is gone that had the run, as its message; empty where nobody is."""
    if status.state == "queued":
        return "" if _is_awaited(run, status) else "its command is gone; nobody will start it"
    if status.state != "running":
        return ""
    if status.host == socket.gethostname():
        return "" if _is_alive(status) else "its process is gone"
    silence = time.time() - last_sign(run)
    return f"no sign of life from {status.host}" if silence > SILENCE_S else ""


def _is_awaited(run: Path, status: Status) -> bool:
    """Whether a command or a scheduler still means to start this queued run; true where nothing is
    known."""
    if status.process and status.host != socket.gethostname():
        return True
    if (job := submission.read(run)) is not None and job.is_of_cluster:
        return True
    if status.process:
        return processes.is_alive(status.process)
    return not _is_free(run / ".lock")


def _is_free(lock: Path) -> bool:
    """Whether the lock was taken once and is not held now."""
    try:
        with regular_files.opened(lock) as held:
            fcntl.flock(held, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _is_alive(status: Status) -> bool:
    if status.process:
        return processes.is_alive(status.process)
    import psutil  # for runs of earlier versions, whose status knows a pid alone

    try:
        process = psutil.Process(status.pid)
        return process.status() != psutil.STATUS_ZOMBIE and (
            status.started is None or process.create_time() < status.started + 1
        )
    except psutil.Error:
        return False


def last_sign(run: Path) -> float:
    """When the run last wrote an event or its progress, or its job gave a sign of life, seconds
    since the epoch."""
    return max(
        changed(run / name) for name in ("spec.json", EVENTS, PROGRESS, BEAT, submission.FILE)
    )


def changed(path: Path) -> float:
    """When the file was last written; 0 if it cannot be read."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0

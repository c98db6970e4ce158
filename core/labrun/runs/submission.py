"""What a run directory knows of its job: `submitted.json`, and whether it was cancelled.

The file is written whole when a launcher has taken the run, and stays. The job touches it while it
lives, so that its age is a sign of life of the job, not of the training.
"""

import dataclasses
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from labrun.errors import LabError
from labrun.system.json_files import read_object, reason, write_json

FILE = "submitted.json"
CANCELLED = ".cancelled"
LOCAL = "local"
NEVER_BEGAN = "cancelled before it started"
"""Message of a run that was cancelled while it waited, or while its process was being started."""
BEAT_S = 20.0
"""Seconds between two signs of life of a job."""


@dataclasses.dataclass(frozen=True)
class Submitted:
    """A job that was handed to a launcher."""

    launcher: str
    id: str
    """What the launcher calls the job: `123_4` of SLURM, a submission id of Ray, a process."""
    place: str = ""
    """Which cluster, where the id alone does not say: Ray's address."""
    host: str = ""
    """The machine on which it was submitted."""
    time: float = 0.0
    """When, seconds since the epoch."""
    number: int = 0
    """Which of the run's jobs it is, where its launcher makes a new one each time: Ray's."""

    @property
    def is_of_cluster(self) -> bool:
        """Whether a scheduler has the job, whose word counts; else a process of `host`."""
        return self.launcher != LOCAL

    def __str__(self) -> str:
        return f"{self.launcher} job {self.id}"


def read(run: Path) -> Submitted | None:
    """The run's job; None of a run that no launcher has taken, or where the file is damaged."""
    try:
        said = read_object(run / FILE)
        known = {field.name for field in dataclasses.fields(Submitted)}
        return Submitted(**{key: value for key, value in said.items() if key in known})
    except (OSError, LabError, TypeError):
        return None


def write(run: Path, job: Submitted) -> None:
    """Record that a launcher has taken the run; on disk when it returns."""
    write_json(run / FILE, dataclasses.asdict(job))


def beat(run: Path) -> None:
    """Give a sign of the job's life."""
    with suppress(OSError):
        os.utime(run / FILE)


def silence(run: Path) -> float:
    """Seconds since the job's last sign of life; of a run that was never submitted, for ever."""
    try:
        return time.time() - (run / FILE).stat().st_mtime
    except OSError:
        return float("inf")


def cancel(run: Path) -> None:
    """Ask for the run's end: its job writes a checkpoint and is not tried again. Raises LabError
    where something else lies in the mark's place."""
    with _no_other_mark(run / CANCELLED):
        (run / CANCELLED).touch()


def is_cancelled(run: Path) -> bool:
    return (run / CANCELLED).exists()


def renew(run: Path) -> None:
    """Let the run go on after it was cancelled. Raises LabError as `cancel` does."""
    with _no_other_mark(run / CANCELLED):
        (run / CANCELLED).unlink(missing_ok=True)


@contextmanager
def _no_other_mark(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise LabError(f"{path} cannot be changed: {reason(error)}; remove it") from error

"""A `lab` command in a trial's folder, and the processes that belong to the trial."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

MARK = "LABRUN_TRIAL"
"""Variable that every process of a trial inherits, by which it is known."""
SERVER = str(Path(__file__).parents[1] / "forked/server.py")
"""Runs in a process below a command that is a fork, and is none of its own."""
MODULES = {"worker": "labrun.worker", "job": "labrun.launch.job"}
"""What the processes of a cluster's job run."""


def environment(folder: Path, search: Sequence[Path]) -> dict[str, str]:
    """The variables of a trial's commands: a home, temporary folder and leases of its own."""
    paths = [*map(str, search), *filter(None, [os.environ.get("PYTHONPATH")])]
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("LABRUN_", "MLFLOW_"))}
    places = {"LABRUN_HOME": "home", "LABRUN_LEASES": "leases", "TMPDIR": "tmp"}
    own = {MARK: str(folder), **{name: str(folder / place) for name, place in places.items()}}
    own |= {"LABRUN_LEASES": str(folder / "leases")}
    fixed = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "MPLBACKEND": "Agg"}
    return kept | own | fixed | {"PYTHONPATH": os.pathsep.join(paths)}


@dataclass
class Command:
    """A running `lab` command, the first of a process group of its own."""

    words: Sequence[str]
    folder: Path
    search: Sequence[Path]

    def __post_init__(self) -> None:
        self._began = time.monotonic()
        (self.folder / "tmp").mkdir(parents=True, exist_ok=True)
        with open(self.folder / "command.log", "ab") as log:
            log.write(f"$ lab {' '.join(self.words)}\n".encode())
            log.flush()
            self.process = subprocess.Popen(
                [sys.executable, "-m", "labrun.cli", *self.words],
                env=environment(self.folder, self.search),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def seconds(self) -> float:
        return time.monotonic() - self._began

    def ended(self) -> bool:
        return self.process.poll() is not None

    def wait(self, timeout_s: float) -> int | None:
        """The exit code; None where the command did not end in time, and was killed."""
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            strike("everything", signal.SIGKILL, command=self)
            self.process.wait()
            return None


def processes_of(folder: Path) -> list[psutil.Process]:
    """Every process that inherited the trial's mark, whoever its parent is now."""
    mark = f"{MARK}={folder}".encode()
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        with suppress(psutil.Error, OSError):  # gone, a zombie, or another user's
            if mark in Path(f"/proc/{name}/environ").read_bytes().split(b"\0"):
                found.append(psutil.Process(int(name)))
    return found


def strike_module(target: str, number: signal.Signals, *, folder: Path) -> bool:
    """Send the signal to the first of the trial's processes that runs the target's module, whoever
    started it; false where there is none."""
    for process in processes_of(folder):
        with suppress(psutil.Error, OSError):  # ended meanwhile
            if process.cmdline()[1:3] == ["-m", MODULES[target]]:
                process.send_signal(number)
                return True
    return False


def strike(target: str, number: signal.Signals, *, command: Command) -> None:
    """Send the signal to the target; to what starts it where there is no such process yet."""
    for pid in _pids(target, command):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def _pids(target: str, command: Command) -> list[int]:
    own = command.process.pid
    if target == "command":
        return [own]
    if target == "group":
        return [p.pid for p in processes_of(command.folder) if _group(p.pid) == own]
    if target == "everything":
        return [p.pid for p in processes_of(command.folder)]
    below = _below(own)
    ranks = [process for process in below if "RANK" in process.environ]
    chosen = {
        "worker": [process for process in below if process.works and process not in ranks],
        "other": [process for process in below if not process.works],
        "rank 0": [process for process in ranks if process.environ["RANK"] == "0"],
        "rank 1": [process for process in ranks if process.environ["RANK"] == "1"],
    }
    return [process.pid for process in chosen[target] or chosen["worker"]][:1] or [own]


def _group(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return None


@dataclass(frozen=True)
class _Below:
    """A process below a command; `works` of a worker or a rank, which run the components."""

    pid: int
    works: bool
    environ: Mapping[str, str]


def _below(command: int) -> list[_Below]:
    """Every process that comes from this one and is still below it."""
    below = []
    try:
        for process in psutil.Process(command).children(recursive=True):
            with suppress(psutil.Error):  # ended meanwhile
                words = process.cmdline()[:4]
                if SERVER in words:
                    continue
                works = "labrun.worker" in words
                below.append(_Below(process.pid, works, process.environ()))
    except psutil.Error:
        return []
    return below

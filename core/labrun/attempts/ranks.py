"""A job of several processes on this machine, with the environment that torchrun also gives.

The worker of such a job starts one copy of itself per rank and waits for all. Only rank 0 writes
into the run directory; the launcher writes the status, from what the ranks say of their endings.
"""

import ctypes
import json
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from labrun.errors import (
    EXIT_CONFIG,
    EXIT_DISK,
    EXIT_DIVERGED,
    EXIT_DONE,
    EXIT_HANG,
    EXIT_PREEMPTED,
)
from labrun.runs.run_dir import write_json

EXIT_FAILED = 1
PLACE = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
FOLDER = "LABRUN_ENDINGS"
"""Variable that names the folder in which each rank leaves its ending for the launcher."""
DELIBERATE = (EXIT_CONFIG, EXIT_DIVERGED, EXIT_PREEMPTED)
RESERVED = (EXIT_DONE, *DELIBERATE, EXIT_DISK, EXIT_HANG)
GRACE_S = 10.0
"""Time that the other ranks have to end by themselves once one has failed."""
POLL_S = 0.05
STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Ending:
    """How an attempt ended: its state, exit code and why."""

    state: str
    code: int
    message: str = ""


@dataclass(frozen=True)
class Place:
    """Which process of the job this is."""

    rank: int = 0
    world_size: int = 1


def place() -> Place | None:
    """This process's place, from its environment; None if no launcher set one."""
    if "RANK" not in os.environ:
        return None
    return Place(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]))


def has_launcher() -> bool:
    """Whether the launcher of this module started this process and keeps its status."""
    return FOLDER in os.environ


def leave(ending: Ending) -> None:
    """Tell the launcher how this rank ended."""
    os.makedirs(os.environ[FOLDER], exist_ok=True)  # cleaners remove what is old in /tmp
    write_json(Path(os.environ[FOLDER]) / f"{os.environ['RANK']}.json", asdict(ending))


def launch(command: Sequence[str], num_processes: int, *, grace_s: float = GRACE_S) -> Ending:
    """Run one `command` per rank to its end, passing what asks it to stop on as SIGTERM; the ending
    of all of them.

    Once a rank fails, the others have `grace_s` seconds and are killed then. The ending is the one
    that explains the others: of a rank that was refused, diverged or stopped before one that a
    signal ended, that before one that crashed (as ranks do whose peer is gone); among alike the
    lowest rank's. Ends this process by SIGTERM where ranks were not ready for it.
    """
    with tempfile.TemporaryDirectory(prefix="labrun-ranks-") as folder:
        group = _Group(command, num_processes, folder)
        before = {number: signal.signal(number, group.stop) for number in STOPS}
        try:
            group.wait(grace_s)
        finally:
            group.kill()
            for number, handler in before.items():
                signal.signal(number, handler)
        codes = group.codes()
        if group.asked and -signal.SIGTERM in codes:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGTERM)
        own = [rank for rank in range(num_processes) if rank not in group.killed]
        return _ending(min(own, key=lambda rank: _precedence(codes[rank])), codes, folder)


class _Group:
    """The processes of one job, in rank order."""

    def __init__(self, command: Sequence[str], num_processes: int, folder: str) -> None:
        port = _free_port()
        self.killed: set[int] = set()
        self.asked = False
        self.processes = [
            subprocess.Popen(
                command,
                env=os.environ | _environment(rank, num_processes, port, folder),
                preexec_fn=die_with_parent,
            )
            for rank in range(num_processes)
        ]

    def stop(self, *_: object) -> None:
        """Pass SIGTERM on."""
        self.asked = True
        for process in self.processes:
            process.terminate()

    def wait(self, grace_s: float) -> None:
        """Wait until all have ended, or `grace_s` seconds have passed since the first failure."""
        failed: float | None = None
        while None in (codes := [process.poll() for process in self.processes]):
            if failed is None and any(codes):
                failed = time.monotonic()
            if failed is not None and time.monotonic() - failed > grace_s:
                return
            time.sleep(POLL_S)

    def kill(self) -> None:
        """End what still runs."""
        for rank, process in enumerate(self.processes):
            if process.poll() is None:
                self.killed.add(rank)
                process.kill()
                process.wait()

    def codes(self) -> list[int]:
        return [process.wait() for process in self.processes]


def _environment(rank: int, num_processes: int, port: int, folder: str) -> dict[str, str]:
    """A rank's variables; the job's threads are divided among its ranks."""
    count = str(num_processes)
    values = (str(rank), str(rank), count, count, "127.0.0.1", str(port))
    threads = str(max(1, int(os.environ.get("OMP_NUM_THREADS", "1")) // num_processes))
    place = dict(zip(PLACE, values, strict=True))
    return place | {FOLDER: folder, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}


def _ending(rank: int, codes: Sequence[int], folder: str) -> Ending:
    """How the rank ended: what it recorded, or else what its exit code means."""
    code, path = codes[rank], Path(folder) / f"{rank}.json"
    if path.exists() and (said := Ending(**json.loads(path.read_text()))).code == code:
        return said
    if code < 0:
        return Ending("failed", EXIT_FAILED, f"rank {rank} was ended by signal {-code}")
    message = f"rank {rank} ended with exit code {code} and no word"
    return Ending("failed", EXIT_FAILED if code in RESERVED else code, message)


def _precedence(code: int) -> int:
    return [code in DELIBERATE, code < 0, code != EXIT_DONE, True].index(True)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def die_with_parent() -> None:
    """Let the kernel kill this process when the one that started it dies."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)

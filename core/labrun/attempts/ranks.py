"""A job of several processes on this machine, with the environment that torchrun also gives.

The worker of such a job starts one copy of itself per rank and waits for all. Only rank 0 writes
what the run says and makes; each rank gives signs of life, and the first to fail writes why. The
launcher writes the status, from what the ranks say of their endings.
Where the job has several machines (`labrun.attempts.machines`), each machine's worker starts its
part of the ranks.
"""

import ctypes
import json
import math
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from labrun.attempts.machines import Machines, Start
from labrun.errors import (
    EXIT_CONFIG,
    EXIT_DISK,
    EXIT_DIVERGED,
    EXIT_DONE,
    EXIT_HANG,
    EXIT_PREEMPTED,
)
from labrun.runs.run_dir import write_json
from labrun.system import processes

EXIT_FAILED = 1
PLACE = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
FOLDER = "LABRUN_ENDINGS"
"""Variable that names the folder in which each rank leaves its ending for the launcher."""
DELIBERATE = (EXIT_CONFIG, EXIT_DIVERGED, EXIT_PREEMPTED)
RESERVED = (EXIT_DONE, *DELIBERATE, EXIT_DISK, EXIT_HANG)
GRACE_S = 10.0
"""Time that the other ranks have to end by themselves once one has failed."""
POLL_S = 0.05
PR_SET_PDEATHSIG = 1
CRASHED = 2
"""Endings that neither a rank meant nor a signal caused."""


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


def launch(
    command: Sequence[str],
    num_processes: int,
    *,
    grace_s: float = GRACE_S,
    machines: Machines = Machines(),  # noqa: B008
    start: Start | None = None,
) -> Ending:
    """Run one `command` per rank to its end, passing what asks it to stop on as SIGTERM; the ending
    of all of them.

    Once a rank fails, the others have `grace_s` seconds and are killed then. The ending is the one
    that explains the others: of a rank that was refused, diverged or stopped before one that a
    signal ended, that before one that crashed (as ranks do whose peer is gone). Of several crashes
    it is the one that was told first; among other endings alike, the lowest rank's. Ends this
    process by SIGTERM where ranks were not ready for it.

    `num_processes` is this machine's part; the first machine also waits for the endings of the
    others' ranks at this `start`.
    """
    with _folder(machines, start) as folder:
        group = _Group(command, num_processes, folder, machines)
        before = {number: signal.signal(number, group.stop) for number in processes.STOPS}
        try:
            group.wait(grace_s)
        finally:
            group.kill()
            for number, handler in before.items():
                signal.signal(number, handler)
        codes = group.codes()
        if group.asked and -signal.SIGTERM in codes.values():
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGTERM)
        own = {rank: codes[rank] for rank in codes if rank not in group.killed}
        if machines.rank > 0:
            group.leave_words(folder)
        else:
            own |= group.endings_elsewhere(grace_s)
        return _ending(min(own, key=lambda rank: _weight(rank, own, folder)), own, folder)


@contextmanager
def _folder(machines: Machines, start: Start | None) -> Iterator[str]:
    """Where the ranks leave their endings: on the board of all machines, or in a scratch folder."""
    if start is not None:
        yield str(machines.endings(start))
        return
    with tempfile.TemporaryDirectory(prefix="labrun-ranks-") as folder:
        yield folder


class _Group:
    """The processes of one job on this machine, by rank."""

    def __init__(
        self, command: Sequence[str], num_processes: int, folder: str, machines: Machines
    ) -> None:
        first = machines.rank * num_processes
        world_size = machines.count * num_processes
        meet = machines.host, machines.port or _free_port()
        self.killed: set[int] = set()
        self.asked = False
        self._folder = Path(folder)
        self._elsewhere = set(range(world_size)) - set(range(first, first + num_processes))
        self._looked = time.monotonic()
        self.processes = {
            first + local: subprocess.Popen(
                command,
                env=os.environ
                | _place(first + local, local, world_size, num_processes, meet)
                | _share(num_processes)
                | {FOLDER: folder},
                preexec_fn=die_with_parent,
            )
            for local in range(num_processes)
        }

    def stop(self, *_: object) -> None:
        """Pass SIGTERM on."""
        self.asked = True
        for process in self.processes.values():
            process.terminate()

    def wait(self, grace_s: float) -> None:
        """Wait until all have ended, or `grace_s` seconds have passed since the first failure."""
        failed: float | None = None
        while len(ended := self._ended()) < len(self.processes):
            if failed is None and (self._has_failed(ended) or self._failed_elsewhere()):
                failed = time.monotonic()
            if failed is not None and time.monotonic() - failed > grace_s:
                return
            time.sleep(POLL_S)

    def kill(self) -> None:
        """End what still runs."""
        for rank, process in self.processes.items():
            if process.poll() is None:
                self.killed.add(rank)
                process.kill()
                process.wait()

    def codes(self) -> dict[int, int]:
        return {rank: process.wait() for rank, process in self.processes.items()}

    def leave_words(self, folder: str) -> None:
        """Tell the first machine how the ranks ended that left no word themselves."""
        codes = self.codes()
        for rank in codes:
            if _said(self._folder, rank) is None:
                ending = _ending(rank, codes, folder)
                code = EXIT_FAILED if rank in self.killed else codes[rank] or EXIT_FAILED
                write_json(self._folder / f"{rank}.json", asdict(replace(ending, code=code)))

    def endings_elsewhere(self, wait_s: float) -> dict[int, int]:
        """Rank -> exit code, of the other machines' ranks; those without a word after `wait_s`
        seconds are left out."""
        give_up = time.monotonic() + wait_s
        while len(said := self._said_elsewhere()) < len(self._elsewhere):
            if time.monotonic() > give_up:
                break
            time.sleep(POLL_S)
        return said

    def _ended(self) -> dict[int, int]:
        """Rank -> exit code, of those that have ended."""
        codes = {rank: process.poll() for rank, process in self.processes.items()}
        return {rank: code for rank, code in codes.items() if code is not None}

    def _has_failed(self, ended: Mapping[int, int]) -> bool:
        """Whether one of these ranks has failed."""
        return any(_meant(rank, ended, str(self._folder)) for rank in ended)

    def _failed_elsewhere(self) -> bool:
        """Whether another machine's rank has failed; looked up once a second."""
        if not self._elsewhere or time.monotonic() - self._looked < 1.0:
            return False
        self._looked = time.monotonic()
        return any(self._said_elsewhere().values())

    def _said_elsewhere(self) -> dict[int, int]:
        endings = {rank: _said(self._folder, rank) for rank in self._elsewhere}
        return {rank: ending.code for rank, ending in endings.items() if ending is not None}


def _place(
    rank: int, local_rank: int, world_size: int, local_world_size: int, meet: tuple[str, int]
) -> dict[str, str]:
    values = (rank, local_rank, world_size, local_world_size, *meet)
    return dict(zip(PLACE, map(str, values), strict=True))


def _share(num_processes: int) -> dict[str, str]:
    """The job's threads on this machine, divided among its ranks."""
    threads = str(max(1, int(os.environ.get("OMP_NUM_THREADS", "1")) // num_processes))
    return {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}


def _meant(rank: int, codes: Mapping[int, int], folder: str) -> int:
    """The exit code of the rank; one that left with code 0 and no word has not come to its end."""
    silent = codes[rank] == EXIT_DONE and _said(Path(folder), rank) is None
    return EXIT_FAILED if silent else codes[rank]


def _ending(rank: int, codes: Mapping[int, int], folder: str) -> Ending:
    """How the rank ended: what it recorded, or else what its exit code means."""
    code, said = codes[rank], _said(Path(folder), rank)
    if code < 0:
        return Ending("failed", EXIT_FAILED, f"rank {rank} was ended by signal {-code}")
    if said is not None and said.code == code:
        return said
    message = f"rank {rank} ended with exit code {code} and no word"
    return Ending("failed", EXIT_FAILED if code in RESERVED else code, message)


def _said(folder: Path, rank: int) -> Ending | None:
    """What the rank left of its ending."""
    try:
        return Ending(**json.loads((folder / f"{rank}.json").read_text()))
    except (FileNotFoundError, ValueError):
        return None


def _weight(rank: int, codes: Mapping[int, int], folder: str) -> tuple[int, float, int]:
    """The less, the more this rank's ending explains those of the others."""
    code = _meant(rank, codes, folder)
    kind = [code in DELIBERATE, code < 0, code != EXIT_DONE, True].index(True)
    return kind, _told_at(Path(folder), rank) if kind == CRASHED else 0.0, rank


def _told_at(folder: Path, rank: int) -> float:
    """When the rank left its ending; infinite where it left none."""
    try:
        return (folder / f"{rank}.json").stat().st_mtime
    except FileNotFoundError:
        return math.inf


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def die_with_parent() -> None:
    """Let the kernel kill this process when the one that started it dies."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)

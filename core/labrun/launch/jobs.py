"""One attempt as the command sees it: its process, its signs of life, how it is ended."""

import math
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from labrun.attempts import environment, memory
from labrun.attempts.leaving import Leaving
from labrun.experiment import ResourcesConfig, RunConfig
from labrun.launch import supervisor
from labrun.launch.leases import Lease
from labrun.runs.run_dir import ENDED, RunDir, Status
from labrun.runs.signs import BEAT, Mark, mark_of, signs
from labrun.system import regular_files

LONGEST_GAP_S = 5.0
"""Longest time between two looks that counts as silence. In a longer one this process stood still
itself (a suspended or frozen machine), and so did its jobs."""
STARTING_S = 60.0
"""Seconds that a process has at least to start, however short `hang_timeout_s` is."""
LEAVING_S = 10.0
"""Seconds for which a process may do nothing, its run having ended, and not leave."""
KILL_S = supervisor.KILL_S + 5.0
ENDS = "LABRUN_ENDS"
"""Variable with the time at which a scheduler ends the job, seconds since the epoch."""


@dataclass
class Silence:
    """How long a run has given no sign of life, by the time in which this process ran."""

    run: RunDir
    _seen: tuple[Mark, ...] = ()
    _silent_s: float = 0.0
    _looked: float = field(default_factory=time.monotonic)

    def seconds(self) -> float:
        now = time.monotonic()
        others = (mark_of(f"{self.run.path}/{name}") for name in ("status.json", BEAT))
        seen = (*signs(self.run.path), *others)
        self._silent_s += min(now - self._looked, LONGEST_GAP_S)
        if seen != self._seen:
            self._seen, self._silent_s = seen, 0.0
        self._looked = now
        return self._silent_s


@dataclass
class Job:
    """One attempt at a run, under a supervisor that holds its locks and ends its whole tree."""

    run: RunDir
    config: RunConfig
    attempt: int
    process: subprocess.Popen[bytes]
    report: int
    oom_kills: int
    peak_bytes: int = 0
    ended_for: str = ""
    """Why the command ended it: `hung`, `heedless` or `lingering`; empty where it did not."""
    out_of_time: bool = False
    """Whether it was asked to stop because of its time limit."""
    held_up_by: str = ""
    """If it is `lingering`: what holds its process up after the run has ended."""
    _silence: Silence = field(init=False)
    _status_mark: Mark = (0, 0, 0)
    _recorded: Status = field(default_factory=Status)
    _leaving: Leaving | None = None
    _asked_at: float | None = None
    _stop_at: float = field(init=False)
    """When it is asked to stop because of its time limit, by the monotonic clock."""

    def __post_init__(self) -> None:
        self._silence = Silence(self.run)
        self._stop_at = time.monotonic() + seconds_left(self.config.resources)

    def poll(self) -> int | None:
        """The exit code, None while the job runs; a job that is overdue is ended."""
        if self._asked_at is None and time.monotonic() >= self._stop_at:
            self.out_of_time = True
            self.stop()
        if (code := self.process.poll()) is None and (why := self._overdue()):
            self.ended_for = why
            self.end()
            code = self.process.returncode
        if code is not None:
            self._read_report()
        return code

    def stop(self) -> None:
        """Ask for a checkpoint and the end."""
        self._asked_at = time.monotonic()
        self.process.terminate()

    def end(self) -> None:
        """Kill the job and whatever it has started; returns when all are gone."""
        try:
            self.process.send_signal(supervisor.END)
            self.process.wait(KILL_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def was_out_of_memory(self) -> bool:
        """Whether the kernel has killed a process for want of memory while the job ran."""
        return memory.oom_kills() > self.oom_kills

    def _overdue(self) -> str:
        now = time.monotonic()
        state = self._status().state
        if state in ENDED:
            self._leaving = self._leaving or Leaving(self._recorded.process)
            self.held_up_by = self._leaving.overdue(LEAVING_S)
            return "lingering" if self.held_up_by else ""
        if self._asked_at is not None and self._is_heedless(now - self._asked_at):
            return "heedless"
        silent_s, most_s = self._silence.seconds(), self.config.hang_timeout_s
        if state == "queued":  # it has not begun to run
            most_s = most_s and max(most_s, STARTING_S)
        return "hung" if most_s and silent_s > most_s else ""

    def _is_heedless(self, asked_for_s: float) -> bool:
        most_s = self.config.stop_timeout_s
        return most_s > 0 and asked_for_s > most_s

    def _status(self) -> Status:
        """The recorded status, read again only where its file has changed."""
        mark = mark_of(f"{self.run.path}/status.json")
        if mark != self._status_mark:
            self._status_mark, self._recorded = mark, self.run.recorded_status()
        return self._recorded

    def _read_report(self) -> None:
        if self.report >= 0:
            text = os.read(self.report, 64)
            os.close(self.report)
            self.report, self.peak_bytes = -1, int(text or b"0") * 1024


def seconds_left(resources: ResourcesConfig) -> float:
    """Seconds until a job that starts now must save its checkpoint; without a limit, for ever."""
    if ENDS in os.environ:  # a scheduler's limit counts from the start of its job
        return float(os.environ[ENDS]) - time.time() - resources.save_ahead_s
    if not resources.time_limit:
        return math.inf
    return resources.time_limit * 60 - resources.save_ahead_s


def start(run: RunDir, config: RunConfig, attempt: int, lease: Lease, claim: int) -> Job:
    """The attempt, begun. Its supervisor holds the lease and the claim from here on."""
    report, write_end = os.pipe()
    try:
        process = _spawn(
            run, variables(run, config, attempt, lease), (*lease.handles, claim), write_end
        )
    except OSError:
        os.close(report)
        raise
    finally:
        os.close(write_end)
    os.set_blocking(report, True)
    return Job(run, config, attempt, process, report, memory.oom_kills())


def variables(run: RunDir, config: RunConfig, attempt: int, lease: Lease) -> dict[str, str]:
    """The variables of an attempt's worker. What it makes for several runs lies beside its own,
    wherever it was started."""
    threads = str(config.resources.num_cpus)
    return {
        "DISABLE_MLFLOW_INTEGRATION": "TRUE",  # transformers': it would import all of MLflow
        "HF_HUB_OFFLINE": "1",
        "OMP_WAIT_POLICY": "PASSIVE",
        "TOKENIZERS_PARALLELISM": "false",
        **environment.for_job(os.environ),
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",  # nvidia-smi's numbers, which the leases name
        "CUDA_VISIBLE_DEVICES": lease.gpus(),
        "LABRUN_ATTEMPT": str(attempt),
        "LABRUN_HOME": str(run.path.parent.absolute()),
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
    }


def _spawn(
    run: RunDir, variables: dict[str, str], held: tuple[int, ...], report: int
) -> subprocess.Popen[bytes]:
    me = [sys.executable, "-I", "-S", str(Path(supervisor.__file__))]
    places = [str(os.getpid()), str(report), ",".join(map(str, held))]
    worker = [sys.executable, "-m", "labrun.worker", str(run.path)]
    with regular_files.opened_to_write(run.path / "stdio.log", "ab") as log:
        return subprocess.Popen(
            [*me, *places, *worker],
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=(*held, report),
            start_new_session=True,
        )

"""Where jobs run. One interface; `local` is a pool of processes on this machine."""

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from labrun import environment, failures
from labrun.errors import (
    EXIT_CONFIG,
    EXIT_DIVERGED,
    EXIT_DONE,
    EXIT_HANG,
    EXIT_PREEMPTED,
    LabError,
)
from labrun.leases import Lease, Pool, devices_here, lease_folder
from labrun.ranks import die_with_parent
from labrun.run_config import ResourcesConfig, RunConfig
from labrun.run_dir import RunDir, all_runs, has_checkpoint

POLL_S = 0.05
NO_RETRY = {EXIT_DONE, EXIT_CONFIG, EXIT_DIVERGED, EXIT_PREEMPTED}


class Executor(Protocol):
    """Runs jobs to their end."""

    def preflight(self, run: RunConfig) -> None:
        """Raise LabError where the job's request cannot be met."""
        ...

    def drain(self, runs: Sequence[RunDir], tick: Callable[[], None]) -> None:
        """Run all; `tick` is called a few times a second. State is in the run directories."""
        ...


def make(launcher: str) -> Executor:
    """The executor of this name."""
    makers: dict[str, Callable[[], Executor]] = {"local": LocalExecutor}
    return makers[launcher]()


@dataclass
class _Job:
    run: RunDir
    config: RunConfig
    process: subprocess.Popen[bytes]
    lease: Lease
    attempt: int
    started: float = field(default_factory=time.time)


class LocalExecutor:
    """Subprocesses that hold exclusive GPU leases and CPU slots.

    A job leads its own session, so that its whole tree is ended with it, and it dies with this
    process. A crash is retried from the last good checkpoint, up to `max_retries` times; an error
    of the code, or one that came twice at the same step, is not.
    """

    def __init__(self, pool: Pool | None = None) -> None:
        self.pool = pool or Pool(devices_here(), lease_folder())
        self._queue: list[tuple[RunDir, RunConfig, int]] = []
        self._jobs: list[_Job] = []
        self._stopping = False
        self._claims: dict[str, int] = {}
        self._told = False
        self._failures: dict[str, failures.Failure | None] = {}

    def preflight(self, run: RunConfig) -> None:
        self.pool.refuse_infeasible(run.resources)

    def drain(self, runs: Sequence[RunDir], tick: Callable[[], None]) -> None:
        """Run all to their end. SIGTERM and Ctrl-C ask the jobs to checkpoint and stop."""
        configs = [run.experiment().run for run in runs]
        for config in configs:
            self.preflight(config)
        self._claims = {run.id: run.claim() for run in runs}
        for run, config in zip(runs, configs, strict=True):
            self._queue.append((run, config, _next_attempt(run)))
        stopping = _StopOnSignal()
        with stopping:
            while self._jobs or self._queue:
                if stopping.asked and not self._stopping:
                    self._stop()
                self._reap()
                self._launch()
                tick()
                time.sleep(POLL_S)
        for handle in self._claims.values():
            os.close(handle)
        if stopping.asked and any(run.status().state != "done" for run in runs):
            raise StoppedError(runs)

    def _launch(self) -> None:
        full: list[ResourcesConfig] = []  # asked for and not free in this round
        for item in list(self._queue):
            run, config, attempt = item
            if config.resources in full:
                continue
            lease = self.pool.acquire(config.resources, holder=f"run {run.id}")
            if lease is None:
                full.append(config.resources)
                self._tell_wait()
                continue
            self._queue.remove(item)
            process = _spawn(run, config, attempt, lease, self._claims[run.id])
            lease.release()  # the job's own copies of the handles hold the locks from here on
            self._jobs.append(_Job(run, config, process, lease, attempt))

    def _tell_wait(self) -> None:
        """Say once who holds what the first job waits for."""
        if self._jobs or self._told:
            return
        self._told = True
        held = [f"{d.name} by {h}" for d in self.pool.devices if (h := self.pool.holder(d))]
        print(f"lab: waiting for a free slot; held: {', '.join(held)}", file=sys.stderr)

    def _reap(self) -> None:
        for job in list(self._jobs):
            code = job.process.poll()
            if code is None and _silent_for(job) > (job.config.hang_timeout_s or float("inf")):
                _end_tree(job.process)
                job.process.wait()
                code = EXIT_HANG
            if code is None:
                continue
            _end_tree(job.process)
            self._jobs.remove(job)
            self._settle(job, code)

    def _settle(self, job: _Job, code: int) -> None:
        recorded = job.run.recorded_status()
        if code in NO_RETRY and recorded.state != "running":
            return
        tries = job.attempt - _first_attempt(job.run)
        if tries < job.config.max_retries and not self._stopping and not self._comes_again(job):
            self._queue.append((job.run, job.config, job.attempt + 1))
            job.run.write_status(state="queued")
            return
        state, why = "failed", recorded.message
        if code == EXIT_HANG:
            state, why = "hung", f"no sign of life for {job.config.hang_timeout_s:g} s"
        elif code < 0:
            state, why = "killed", f"ended by signal {-code}"
        elif recorded.state == "running":
            why = f"ended with exit code {code} and no word"
        if code == -signal.SIGTERM and self._stopping:
            state, why = "preempted", "stopped before it was ready to write a checkpoint"
        job.run.write_status(state=state, exit_code=code, message=why, ended=time.time())

    def _comes_again(self, job: _Job) -> bool:
        """Whether this failure is of the code, or the same as that of the attempt before."""
        before = self._failures.get(job.run.id)
        failure = failures.of(job.run, attempt=job.attempt)
        self._failures[job.run.id] = failure
        return failure is not None and failure.comes_again(before)

    def _stop(self) -> None:
        self._stopping = True
        for run, _, _ in self._queue:
            run.write_status(state="preempted", message="stopped before it started")
        self._queue.clear()
        for job in self._jobs:
            job.process.terminate()


def _next_attempt(run: RunDir) -> int:
    """The number of the next attempt; also the first of this command."""
    begun = [event["attempt"] for event in run.events() if event["kind"] == "attempt"]
    attempt = max(begun, default=-1) + 1
    run.write_status(state="queued", attempt=attempt, message="", exit_code=None)
    (run.path / ".first_attempt").write_text(str(attempt))
    return attempt


def _first_attempt(run: RunDir) -> int:
    return int((run.path / ".first_attempt").read_text())


def _spawn(
    run: RunDir, config: RunConfig, attempt: int, lease: Lease, claim: int
) -> subprocess.Popen[bytes]:
    threads = str(config.resources.num_cpus)
    variables = {
        "HF_HUB_OFFLINE": "1",
        "OMP_WAIT_POLICY": "PASSIVE",
        "TOKENIZERS_PARALLELISM": "false",
        **environment.for_job(os.environ),
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",  # nvidia-smi's numbers, which the leases name
        "CUDA_VISIBLE_DEVICES": lease.gpus(),
        "LABRUN_ATTEMPT": str(attempt),
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
    }
    with open(run.path / "stdio.log", "ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "labrun.worker", str(run.path)],
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=(*lease.handles, claim),
            start_new_session=True,
            preexec_fn=die_with_parent,
        )


def _end_tree(process: subprocess.Popen[bytes]) -> None:
    """Kill what is left of the job's session (data loaders, inference servers)."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _silent_for(job: _Job) -> float:
    """Seconds since the job's last event or progress."""
    return time.time() - max(job.started, job.run.last_sign())


class _StopOnSignal:
    """While entered, the first SIGINT or SIGTERM is noted instead of ending this process."""

    def __init__(self) -> None:
        self.asked = 0
        self._before: dict[int, object] = {}

    def __enter__(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._on_signal)

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # pyright: ignore[reportArgumentType]

    def _on_signal(self, number: int, _: object) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = number
        print("lab: stopping; jobs write a checkpoint first (again: at once)", file=sys.stderr)


class StoppedError(LabError):
    """Runs were stopped by the user and can be resumed."""

    exit_code = EXIT_PREEMPTED

    def __init__(self, runs: Sequence[RunDir]) -> None:
        open_runs = [run for run in runs if run.status().state != "done"]
        if any(map(has_checkpoint, open_runs)):
            then = f"goes on from the last checkpoint{'s' if len(open_runs) > 1 else ''}"
        else:
            then = "begins again: there is no checkpoint yet"
        super().__init__(f"stopped; `lab resume {_names(runs, open_runs)}` {then}")


def _names(runs: Sequence[RunDir], open_runs: Sequence[RunDir]) -> str:
    """The words that name these runs: `last`, their group, or their ids."""
    groups = {run.experiment().run.group for run in runs}
    if len(runs) > 1 and len(groups) == 1:
        return f"--group {shlex.quote(groups.pop())}"
    if len(open_runs) == 1 and all_runs(open_runs[0].path.parent)[-1] == open_runs[0]:
        return "last"
    return " ".join(run.id for run in open_runs)

"""Where jobs run. One interface; `local` is a pool of processes on this machine."""

import errno
import os
import select
import socket
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from labrun.attempts import failures
from labrun.attempts.ranks import Ending
from labrun.errors import LabError
from labrun.experiment import ResourcesConfig, RunConfig
from labrun.launch import endings, jobs
from labrun.launch.devices import Device
from labrun.launch.guards import lasting
from labrun.launch.jobs import Job
from labrun.launch.leases import Lease, pool_here
from labrun.launch.stopping import StopOnSignal, StoppedError
from labrun.runs import submission
from labrun.runs.run_dir import RunDir, Status
from labrun.runs.signs import last_step
from labrun.system import processes

__all__ = ["Executor", "LocalExecutor", "StoppedError", "make"]

POLL_S = 0.1
"""Seconds between two looks at the jobs; one that ends is seen at once."""
LEAVE_S = 0.002
"""Seconds that a supervisor takes to leave, once it has told of its job's end."""
LOOK_S = 1.0
"""Seconds between looks for devices that another command has freed."""
PASSING = (errno.EAGAIN, errno.EMFILE, errno.ENFILE, errno.ENOMEM)
"""Errors of starting a process that may be gone once another job has ended."""
PATIENCE_S = 5.0
"""Seconds for which such an error is waited out while no job of this command runs."""
NO_RETRY = ("done", "refused", "diverged", "preempted")


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


class DeviceSource(Protocol):
    """Where an executor's jobs get their devices: this machine's pool, or what a scheduler gave."""

    @property
    def devices(self) -> Sequence[Device]: ...

    def refuse_infeasible(self, wanted: ResourcesConfig) -> None: ...

    def acquire(self, wanted: ResourcesConfig, *, holder: str) -> Lease | None: ...

    def holder(self, device: Device) -> str | None: ...


@dataclass
class _Waiting:
    run: RunDir
    config: RunConfig
    attempt: int | None = None
    """Of a retry; None of a run that this command has not started yet."""


class LocalExecutor:
    """Subprocesses that hold exclusive GPU leases and CPU slots.

    Each job has a supervisor that ends its whole tree with it or with this process. A crash is
    retried from the last good checkpoint, up to `max_retries` times; an error of the code, or one
    that came twice at the same step, is not. What goes wrong with one run ends no other.
    """

    def __init__(self, pool: DeviceSource | None = None, *, patient: bool = False) -> None:
        """`patient`: a second signal does not end the jobs at once; a scheduler sends several."""
        self.pool = pool or pool_here()
        self._patient = patient
        self._queue: dict[ResourcesConfig, deque[_Waiting]] = {}
        self._jobs: list[Job] = []
        self._claims: dict[str, int] = {}
        self._first: dict[str, int] = {}
        self._failures: dict[str, failures.Failure | None] = {}
        self._unwritten: dict[str, tuple[RunDir, dict[str, Any]]] = {}
        self._stopping = False
        self._told = False
        self._looked = -LOOK_S
        self._short_since: float | None = None

    def preflight(self, run: RunConfig) -> None:
        self.pool.refuse_infeasible(run.resources)

    def drain(self, runs: Sequence[RunDir], tick: Callable[[], None]) -> None:
        """Run all to their end. Signals that ask for an end make the jobs checkpoint and stop."""
        waiting = [_Waiting(run, run.experiment().run) for run in runs]
        for config in {one.config.resources: one.config for one in waiting}.values():
            self.preflight(config)
        for one in waiting:
            os.close(one.run.claim())
        for one in waiting:
            self._enqueue(one)
            _await_start(one.run)
        stopping = StopOnSignal(patient=self._patient)
        with stopping:
            try:
                self._loop(stopping, lasting("the display", tick))
            except KeyboardInterrupt:
                print("lab: ending the jobs at once", file=sys.stderr)
            finally:
                self._end_all()
        if stopping.asked and any(_is_open(run) for run in runs):
            raise StoppedError([run for run in runs if run.path.exists()])

    def _loop(self, stopping: StopOnSignal, tick: Callable[[], None]) -> None:
        while self._jobs or self._queue:
            if stopping.asked and not self._stopping:
                self._stop()
            if self._reap() or time.monotonic() - self._looked >= LOOK_S:
                self._launch()
            self._write_late()
            tick()
            if self._jobs or self._queue:
                self._pause()

    def _pause(self) -> None:
        """Wait for the next look, or until a job tells of its end."""
        reports = select.poll()
        for job in self._jobs:
            reports.register(job.report, select.POLLIN)
        if reports.poll(1000 * POLL_S):
            time.sleep(LEAVE_S)

    def _enqueue(self, waiting: _Waiting) -> None:
        self._queue.setdefault(waiting.config.resources, deque()).append(waiting)

    def _launch(self) -> None:
        """Start what there are devices for, the earliest runs of each request first."""
        self._looked = time.monotonic()
        for resources, waiting in list(self._queue.items()):
            while waiting and self._start_next(resources, waiting):
                pass
            if not waiting:
                del self._queue[resources]

    def _start_next(self, resources: ResourcesConfig, waiting: deque[_Waiting]) -> bool:
        """Start the first run that waits; false where there are no devices for it now."""
        one = waiting.popleft()
        if submission.is_cancelled(one.run.path):
            self._write(one.run, state="preempted", message=submission.NEVER_BEGAN)
            self._free(one.run)
            return True
        try:
            lease = self.pool.acquire(resources, holder=f"run {one.run.id}")
            if lease is None:
                self._tell_wait()
                waiting.appendleft(one)
                return False
            self._start(one, lease)
            self._short_since = None
        except (LabError, OSError) as error:
            self._free(one.run)
            if _is_passing(error) and self._is_patient_now():
                waiting.appendleft(one)
                return False
            self._lose(one.run, error)
        return True

    def _is_patient_now(self) -> bool:
        """Whether to wait until something is free again: a job's end frees it, or another process.

        Without a job to wait for, for a few seconds.
        """
        now = time.monotonic()
        if self._jobs:
            self._short_since = None
        elif self._short_since is None:
            self._short_since = now
        return self._short_since is None or now - self._short_since < PATIENCE_S

    def _start(self, one: _Waiting, lease: Lease) -> None:
        try:
            attempt = self._claim(one)
            self._jobs.append(
                jobs.start(one.run, one.config, attempt, lease, self._claims[one.run.id])
            )
        finally:
            lease.release()  # the supervisor's own copies hold the locks from here on

    def _claim(self, one: _Waiting) -> int:
        """The number of the attempt to start, the run being this command's alone.

        Raises LabError where another command has it, or has had it meanwhile.
        """
        self._claims[one.run.id] = one.run.claim()
        if one.run.recorded_status().process not in ("", processes.me()):
            raise LabError("another `lab` process has started this run meanwhile")
        if one.attempt is not None:
            return one.attempt
        attempt = self._first[one.run.id] = _next_attempt(one.run)
        return attempt

    def _lose(self, run: RunDir, error: Exception) -> None:
        """Give up a run that cannot be started, and say so; one that another has is its own."""
        _say(run, f"not started: {error}")
        if run.path.exists() and run.recorded_status().process in ("", processes.me()):
            self._write(run, state="failed", exit_code=1, message=f"not started: {error}")

    def _tell_wait(self) -> None:
        """Say once who holds what the first job waits for."""
        if self._jobs or self._told:
            return
        self._told = True
        held = [f"{d.name} by {h}" for d in self.pool.devices if (h := self.pool.holder(d))]
        print(f"lab: waiting for a free slot; held: {', '.join(held)}", file=sys.stderr)

    def _reap(self) -> int:
        """How many jobs have ended since the last look; each is settled."""
        ended = [(job, code) for job in self._jobs if (code := job.poll()) is not None]
        for job, code in ended:
            self._jobs.remove(job)
            try:
                self._settle(job, code)
            except Exception as error:  # one run's files are one run's trouble
                _say(job.run, f"its ending cannot be recorded: {type(error).__name__}: {error}")
                self._free(job.run)
        return len(ended)

    def _settle(self, job: Job, code: int) -> None:
        run = job.run
        if not run.path.exists():
            _say(run, "its directory was removed while it ran; its job has ended")
            return self._free(run)
        ending = endings.of_job(job, code)
        if self._is_retried(job, ending):
            self._write(run, **_waits(), step=_last_step(run))
            self._free(run)
            return self._enqueue(_Waiting(run, job.config, job.attempt + 1))
        recorded = run.recorded_status()
        if (recorded.state, recorded.message) != (ending.state, ending.message):
            self._record(run, ending)
        return self._free(run)

    def _record(self, run: RunDir, ending: Ending) -> None:
        words = {"state": ending.state, "exit_code": ending.code, "message": ending.message}
        self._write(run, **words, ended=time.time(), step=_last_step(run))

    def _is_retried(self, job: Job, ending: Ending) -> bool:
        if ending.state in NO_RETRY or job.ended_for == "heedless" or self._stopping:
            return False
        if submission.is_cancelled(job.run.path):
            return False
        tries = job.attempt - self._first[job.run.id]
        return tries < job.config.max_retries and not self._comes_again(job)

    def _comes_again(self, job: Job) -> bool:
        """Whether this failure is of the code, or the same as that of the attempt before."""
        before = self._failures.get(job.run.id)
        failure = failures.of(job.run, attempt=job.attempt)
        self._failures[job.run.id] = failure
        return failure is not None and failure.comes_again(before)

    def _free(self, run: RunDir) -> None:
        if run.id in self._claims:
            os.close(self._claims.pop(run.id))

    def _write(self, run: RunDir, **changes: Any) -> None:
        """Write the run's status; where the disk is full, later."""
        try:
            run.write_status(**changes)
        except (OSError, LabError) as error:
            if run.id not in self._unwritten:
                _say(run, f"its state {changes['state']!r} cannot be written now: {error}")
            self._unwritten[run.id] = run, changes

    def _write_late(self) -> None:
        unwritten, self._unwritten = self._unwritten, {}
        for run, changes in unwritten.values():
            try:
                run.write_status(**changes)
            except (OSError, LabError):
                self._unwritten[run.id] = run, changes

    def _stop(self) -> None:
        self._stopping = True
        for waiting in self._queue.values():
            for one in waiting:
                self._write(one.run, state="preempted", message="stopped before it started")
                self._free(one.run)
        self._queue.clear()
        for job in self._jobs:
            job.stop()

    def _end_all(self) -> None:
        """End what still runs, at a second signal or an error of this command."""
        for job in self._jobs:
            job.end()
            if job.run.path.exists():
                text = "ended with its command, without a checkpoint"
                self._record(job.run, Ending("killed", job.process.returncode, text))
            self._free(job.run)
        for waiting in self._queue.values():
            for one in waiting:
                self._write(one.run, state="preempted", message="stopped before it started")
                self._free(one.run)
        self._write_late()


def awaited() -> Status:
    """The status of a run that this process will start, for as long as it lives."""
    return Status(**_waits())


def _await_start(run: RunDir) -> None:
    status = run.recorded_status()
    if (status.state, status.process) != ("queued", processes.me()):
        run.write_status(**_waits(), message="", exit_code=None)


def _waits() -> dict[str, Any]:
    return {"state": "queued", "host": socket.gethostname(), "process": processes.me()}


def _next_attempt(run: RunDir) -> int:
    """The number of the next attempt, also the first of this command; what a writer that died left
    half written is removed."""
    for draft in run.path.glob(".*.json.[0-9]*"):
        draft.unlink(missing_ok=True)
    events = run.events(check=False)
    begun = [event["attempt"] for event in events if event["kind"] == "attempt"]
    attempt = max(begun, default=-1) + 1
    if run.recorded_status().attempt != attempt:
        run.write_status(attempt=attempt)
    return attempt


def _is_passing(error: BaseException) -> bool:
    """Whether it may be gone once another job has ended, by the error or the one that it tells."""
    told = error.__cause__ or error
    return isinstance(told, OSError) and told.errno in PASSING


def _last_step(run: RunDir) -> int:
    return max(run.recorded_status().step, last_step(run.path))


def _is_open(run: RunDir) -> bool:
    return run.path.exists() and run.status().state != "done"


def _say(run: RunDir, text: str) -> None:
    print(f"lab: run {run.id}: {text}", file=sys.stderr)

"""Runs that outlive the command: handed to a cluster's launcher, or to a process of their own."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from labrun.errors import EXIT_PREEMPTED, LabError
from labrun.experiment import RunConfig
from labrun.launch import launchers
from labrun.launch.local import LocalExecutor
from labrun.runs import submission
from labrun.runs.run_dir import RunDir
from labrun.runs.submission import LOCAL, Submitted
from labrun.system import processes, regular_files

DETACHED = ".detached"
"""Folder in LABRUN_HOME with the output of detached processes."""
HANDOVER_S = 60.0
POLL_S = 0.05


def lacks(runs: Sequence[RunConfig]) -> list[str]:
    """What the launcher lacks here for these runs: the plan may be for another machine.

    Raises LabError where they name several launchers.
    """
    _refuse_several(runs)
    try:
        if runs[0].launcher == LOCAL:
            executor = LocalExecutor()
            for run in {run.resources: run for run in runs}.values():
                executor.preflight(run)
        else:
            launchers.of(runs[0].launcher).check(runs, home=None)
    except LabError as error:
        return [str(error)]
    return []


def _refuse_several(runs: Sequence[RunConfig]) -> None:
    names = {run.launcher for run in runs}
    if len(names) > 1:
        said = ",".join(sorted(names))
        raise LabError(f"launcher={said}: a command has one launcher; name one, or its runs")


def refuse_unseen(runs: Sequence[RunConfig], home: Path) -> None:
    """Raise LabError where the launcher's machines could not run them from this folder."""
    _refuse_several(runs)
    if runs[0].launcher != LOCAL:
        launchers.of(runs[0].launcher).check(runs, home=home)


def outlives(config: RunConfig, *, detach: bool) -> bool:
    """Whether the run goes on when the command ends."""
    return detach or config.launcher != LOCAL


def submit(runs: Sequence[RunDir]) -> None:
    """Hand all to their launcher. Raises LabError where it refuses; those before are submitted."""
    for run in runs:
        os.close(run.claim())
        run.write_status(
            state="queued", host=socket.gethostname(), process=processes.me(), message="",
            exit_code=None,
        )  # fmt: skip
    name = runs[0].experiment().run.launcher
    if name == LOCAL:
        _detach(runs)
        return
    num_taken = 0
    try:
        for run, job in launchers.of(name).submit(runs):
            submission.write(run.path, job)
            num_taken += 1
    except LabError as error:
        for run in runs[num_taken:]:
            run.write_status(state="failed", exit_code=1, message=f"not submitted: {error}")
        raise LabError(f"{num_taken} of {len(runs)} runs were submitted: {error}") from error


def _detach(runs: Sequence[RunDir]) -> None:
    """Start a process of its own that runs all, and wait until it has them.

    Raises LabError where it cannot be started, or ends before it has them.
    """
    log = runs[0].path.parent / DETACHED / f"{runs[0].id}.log"
    try:
        process = _started(runs, log)
    except OSError as error:
        for run in runs:
            with suppress(OSError, LabError):  # the disk may be full
                run.write_status(state="failed", exit_code=1, message=f"not started: {error}")
        text = f"the process that should run them cannot be started: {error.strerror}: "
        raise LabError(f"{text}{error.filename or log}; mend it, then `lab resume`") from error
    job = Submitted(LOCAL, processes.identity(process.pid), "", socket.gethostname(), time.time())
    for run in runs:
        submission.write(run.path, job)
    give_up = time.monotonic() + HANDOVER_S
    while any(run.recorded_status().process == processes.me() for run in runs):
        if process.poll() is not None or time.monotonic() > give_up:
            raise LabError(f"the process that should run them ended: see {log}")
        time.sleep(POLL_S)
    process.returncode = 0  # it goes on by itself, and nobody waits for it here


def _started(runs: Sequence[RunDir], log: Path) -> "subprocess.Popen[bytes]":
    log.parent.mkdir(exist_ok=True)
    with regular_files.opened_to_write(log, "ab") as out:
        return subprocess.Popen(
            [sys.executable, "-m", "labrun.launch.job", *(str(run.path) for run in runs)],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )


def cancel(runs: Sequence[RunDir], *, now: bool) -> dict[str, str]:
    """Run id -> what was done to end it. Those that run save a checkpoint first, unless `now`.

    Each is marked before its state is read, and a worker looks for the mark once it has written
    that it runs: one of the two sees the other. Raises LabError where a run cannot be reached from
    here.
    """
    states = {run.id: run.recorded_status().state for run in runs}
    done = {run.id: f"it has ended already: {states[run.id]}" for run in runs if not _is_open(run)}
    open_runs = [run for run in runs if run.id not in done]
    for run in open_runs:
        _refuse_unreachable(run)
    for run in open_runs:
        submission.cancel(run.path)
    for name, jobs in _by_launcher(open_runs).items():
        if name != LOCAL:
            launchers.of(name).cancel([job for _, job in jobs], now=now)
    for run in open_runs:
        done[run.id] = _end(run, now=now)
    return {run.id: done[run.id] for run in runs}


def _is_open(run: RunDir) -> bool:
    return run.status().state in ("queued", "running") or (
        run.recorded_status().state in ("queued", "running") and _job(run).is_of_cluster
    )


def _by_launcher(runs: Sequence[RunDir]) -> dict[str, list[tuple[RunDir, Submitted]]]:
    found: dict[str, list[tuple[RunDir, Submitted]]] = {}
    for run in runs:
        job = _job(run)
        found.setdefault(job.launcher, []).append((run, job))
    return found


def _job(run: RunDir) -> Submitted:
    """The run's job; of a run that no launcher took, the process that has it."""
    status = run.recorded_status()
    return submission.read(run.path) or Submitted(LOCAL, status.process, "", status.host)


def _refuse_unreachable(run: RunDir) -> None:
    """Raise LabError for a run that another machine's process runs. One that waits there is reached
    by its files: its command looks for the mark before it starts a run."""
    status = run.recorded_status()
    is_elsewhere = not _job(run).is_of_cluster and status.host != socket.gethostname()
    if is_elsewhere and status.state != "queued":
        raise LabError(f"run {run.id} runs on {status.host}; `lab cancel {run.id}` there")


def _end(run: RunDir, *, now: bool) -> str:
    """What was done to end the run, whose scheduler has been asked."""
    status = run.recorded_status()
    if status.state == "queued":
        words = {"exit_code": EXIT_PREEMPTED, "message": submission.NEVER_BEGAN}
        run.write_status(state="preempted", **words, ended=time.time())
        return submission.NEVER_BEGAN
    if not _job(run).is_of_cluster:
        processes.end_job(status.process, now=now)
    return "ended at once" if now else "asked to save a checkpoint and stop"

"""A job's machine other than the first: it starts its ranks whenever the first machine says so."""

import subprocess
import sys
import time

from labrun.attempts import machines, ranks
from labrun.attempts.machines import Machines, Start
from labrun.errors import LabError
from labrun.launch import jobs
from labrun.launch.allocation import allocation_here
from labrun.launch.stopping import StopOnSignal
from labrun.runs.run_dir import RunDir

POLL_S = 0.2
SILENCE_S = 900.0
"""Seconds for which it waits for the first machine's first word."""


def follow(run: RunDir) -> int:
    """0 once the first machine has ended the job. Raises LabError where it never speaks."""
    there = machines.here(run)
    stopping = StopOnSignal(patient=True)
    worker: subprocess.Popen[bytes] | None = None
    begun, passed_on = -1, False
    give_up = time.monotonic() + SILENCE_S
    try:
        with stopping:
            while not there.has_ended():
                start = there.start()
                if start is not None and start.number > begun:
                    _kill(worker)
                    worker, begun = _worker(run, there, start), start.number
                elif worker is None and time.monotonic() > give_up:
                    raise LabError(
                        f"the first machine ({there.host}) said nothing in {SILENCE_S:g} s"
                    )
                if stopping.asked and not passed_on and worker is not None:
                    passed_on = True
                    worker.terminate()
                time.sleep(POLL_S)
    finally:
        _kill(worker)
    return 0


def _worker(run: RunDir, there: Machines, start: Start) -> subprocess.Popen[bytes]:
    resources = run.experiment().run.resources
    lease = allocation_here().acquire(resources, holder=run.id)
    assert lease is not None
    words = [f"{name}={why}" for name, why in start.passed_over.items()]
    with open(run.path / f"stdio-node{there.rank}.log", "ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "labrun.worker", str(run.path), *words],
            env=jobs.variables(run, run.experiment().run, start.attempt, lease),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            preexec_fn=ranks.die_with_parent,
        )


def _kill(worker: subprocess.Popen[bytes] | None) -> None:
    """End the worker, whose ranks die with it."""
    if worker is not None and worker.poll() is None:
        worker.kill()
        worker.wait()

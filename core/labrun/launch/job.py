"""A job without a command that waits: `python -m labrun.launch.job RUN_DIR...`.

It does for a run on a cluster's machine, and for those of `lab run --detach` on this one, what
`lab run` does: it supervises the workers, tries again, notes endings, and mirrors to a tracking
server. On a cluster each of the job's machines starts it.
"""

import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from labrun.attempts import machines
from labrun.errors import EXIT_CONFIG, EXIT_PREEMPTED, LabError
from labrun.launch import part, requeues
from labrun.launch.allocation import allocation_here
from labrun.launch.guards import lasting
from labrun.launch.local import LocalExecutor
from labrun.launch.stopping import StoppedError
from labrun.results.sinks import LiveSinks
from labrun.results.store import LiveMirror
from labrun.runs import submission
from labrun.runs.run_dir import RunDir, write_json
from labrun.runs.submission import Submitted
from labrun.system import streams
from labrun.system.json_files import read_object

HOLDER = ".job.json"
"""Which life of which job has the run; a job that finds another's name there ends at once."""
FENCE_S = 5.0
HANDOVER_S = 90.0
"""Seconds for which a job waits until an earlier life of it, on a lost machine, has let go."""


def main(paths: Sequence[str]) -> int:
    runs = [RunDir(Path(path)) for path in paths]
    name = os.environ.get(machines.JOB, "")
    if not name:
        return _detached(runs)
    (run,) = runs
    if machines.node_rank() > 0:
        return part.follow(run)
    there = machines.here(run)
    machines.clear(run, but=there.board)
    try:
        return _in_scheduler(run, name)
    finally:
        if there.count > 1:
            there.end()


def _detached(runs: Sequence[RunDir]) -> int:
    """The jobs of a command that has ended, on this machine."""
    _drain(LocalExecutor(), runs, [])
    states = [run.status() for run in runs if run.path.exists()]
    return next((one.exit_code or 1 for one in states if one.state != "done"), 0)


def _in_scheduler(run: RunDir, name: str) -> int:
    """The exit code of one life of a scheduler's job. Where it is to go on, AGAIN says so."""
    launcher, job, life = name.split(" ")
    if submission.read(run.path) is None:
        submission.write(run.path, Submitted(launcher, job, time=time.time()))
    if run.recorded_status().state == "done" or _is_outdated(run, int(life)):
        return 0
    try:
        _take_over(run, name)
    except LabError as error:  # whoever has the run writes its status
        print(f"lab: {error}", file=sys.stderr)
        return 1
    try:
        requeues.begin(run, life=int(life))
        _drain(LocalExecutor(allocation_here(), patient=True), [run], [_fence(run, name)])
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        run.write_status(state="refused", exit_code=EXIT_CONFIG, message=str(error))
    if not _is_mine(run, name):
        return 0
    return _settled(run, launcher, job)


def _is_outdated(run: RunDir, number: int) -> bool:
    """Whether a later job has the run. Ray may start one that was given up long ago."""
    job = submission.read(run.path)
    return job is not None and job.number > number


def _settled(run: RunDir, launcher: str, job: str) -> int:
    status = run.recorded_status()
    if status.state != "preempted" or submission.is_cancelled(run.path):
        return abs(status.exit_code or 0)
    if fault := requeues.fault(run, run.experiment().run):
        run.write_status(state="failed", exit_code=1, message=fault)
        return 1
    run.write_status(**waiting(launcher, job))
    requeues.ask(run)
    return EXIT_PREEMPTED


def waiting(launcher: str, job: str) -> dict[str, object]:
    """The status of a run that waits in a scheduler's queue."""
    return {
        "state": "queued",
        "host": launcher,
        "process": f"{launcher} {job}",
        "message": "",
        "exit_code": None,
    }


def _take_over(run: RunDir, name: str) -> None:
    """Make this job the run's only one. An earlier life of it may still run on a lost machine.

    Raises LabError where another process keeps the run.
    """
    write_json(run.path / HOLDER, {"job": name})
    give_up = time.monotonic() + HANDOVER_S
    while True:
        try:
            os.close(run.claim())
            return
        except LabError:
            if time.monotonic() > give_up:
                raise
        time.sleep(1.0)


def _is_mine(run: RunDir, name: str) -> bool:
    try:
        return read_object(run.path / HOLDER).get("job") == name
    except (OSError, LabError):
        return True


def _fence(run: RunDir, name: str) -> Callable[[], None]:
    """Ends this process's job where a later life of it has begun elsewhere."""
    looked = time.monotonic()

    def look() -> None:
        nonlocal looked
        if time.monotonic() - looked >= FENCE_S:
            looked = time.monotonic()
            if not _is_mine(run, name):
                print(f"lab: {run.id} goes on in a later job; this one ends", file=sys.stderr)
                raise KeyboardInterrupt

    return look


def _drain(
    executor: LocalExecutor, runs: Sequence[RunDir], looks: Sequence[Callable[[], None]]
) -> None:
    """Run all to their end, with signs of life, mirrored where nothing else mirrors them."""
    mirrored = [run for run in runs if _is_mirrored_here(run)]
    mirror = LiveMirror(runs[0].path.parent, mirrored) if mirrored else None
    store = lasting("the results store", mirror.tick) if mirror else None
    also = LiveSinks(runs)
    feed = lasting("tracking.also", also.tick)
    beat = _beat(runs)

    def tick() -> None:
        beat()
        for look in looks:
            look()
        if store:
            store()
        feed()

    try:
        with suppress(StoppedError):
            executor.drain(runs, tick)
    finally:
        if mirror:
            lasting("the results store", mirror.close)()
        lasting("tracking.also", also.close)()


def _is_mirrored_here(run: RunDir) -> bool:
    """Whether the run's store may be written from any machine: a server, not a file."""
    try:
        return run.experiment().run.tracking.uri.startswith("http")
    except LabError:
        return False


def _beat(runs: Sequence[RunDir]) -> Callable[[], None]:
    last = -submission.BEAT_S

    def beat() -> None:
        nonlocal last
        if time.monotonic() - last >= submission.BEAT_S:
            last = time.monotonic()
            for run in runs:
                submission.beat(run.path)

    return beat


if __name__ == "__main__":
    streams.keep()
    sys.exit(main(sys.argv[1:]))

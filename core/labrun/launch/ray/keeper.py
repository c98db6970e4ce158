"""Hands in lost runs of a LABRUN_HOME again: `python -m labrun.launch.ray.keeper LABRUN_HOME`.

A run is lost where its Ray Job has ended and the run has not: its node or its processes died, it
waited for longer than Ray lets a job wait, or it saved a checkpoint before its time limit. A
supervisor that outlives its job, or no longer sees it, is ended, so that it holds no GPU.
"""

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from labrun.errors import LabError
from labrun.launch import following, job, requeues
from labrun.launch.launchers import Word
from labrun.launch.ray import request
from labrun.launch.ray.cluster import QUEUED_TOO_LONG, Cluster, RayJob
from labrun.runs import submission
from labrun.runs.run_dir import RunDir
from labrun.runs.signs import mark_of
from labrun.system import streams

LOOK_S = 5.0
IDLE_S = 30.0
"""Seconds without an open run after which the keeper leaves."""
HUNG_S = 1800.0
"""Seconds without a sign of life after which a job that Ray calls running is given up."""
SILENT_CLUSTER_S = 900.0
"""Seconds without an answer of the cluster after which the keeper leaves."""
RELEASE_S = 120.0
AGAIN_S = 60.0
"""Seconds between two attempts to free what one job holds."""


class Keeper:
    def __init__(
        self,
        home: Path,
        cluster: Cluster,
        release: Callable[[Sequence[RayJob]], None],
    ) -> None:
        """`release`: ends the supervisors of jobs."""
        self._home, self._cluster, self._release = home, cluster, release
        self._closed: set[str] = set()
        self._signs: dict[str, tuple[object, float]] = {}
        self._released: dict[str, float] = {}

    def look(self) -> bool:
        """Whether a run is open, once those that are lost have been handed in again.

        Raises LabError where the cluster does not answer.
        """
        known = self._cluster.jobs()
        own = [one for one in known.values() if self._is_own(one)]
        self._closed |= {one.id for one in own if _is_closed(one)}
        still = [one for one in own if one.id not in self._closed]
        lost = [one for one in still if one.has_ended and _is_open(one)]
        hung = [one for one in still if one.state == "RUNNING" and self._is_hung(one)]
        unwanted = [one for one in still if one.state == "PENDING" and not _is_open(one)]
        self._free([*hung, *unwanted, *(one for one in lost if one.exit_code is None)])
        for one in lost:
            try:
                self._settle(one, known)
            except (LabError, OSError) as error:
                print(f"lab: {one.id}: {error}", flush=True)
        return bool(still)

    def _is_own(self, one: RayJob) -> bool:
        return one.run is not None and one.run.parent == self._home and one.id not in self._closed

    def _is_hung(self, one: RayJob) -> bool:
        """Whether the job has given no sign of life for long, by this machine's clock."""
        sign = mark_of(str(_run(one).path / submission.FILE))
        before, since = self._signs.get(one.id, (None, 0.0))
        if sign != before:
            self._signs[one.id] = (sign, time.monotonic())
            return False
        return time.monotonic() - since > HUNG_S

    def _free(self, jobs: Sequence[RayJob]) -> None:
        """Free what the jobs hold; what has just been freed, Ray may not know yet."""
        now = time.monotonic()
        due = [one for one in jobs if now - self._released.get(one.id, -AGAIN_S) >= AGAIN_S]
        if due:
            self._released |= {one.id: now for one in due}
            self._release(due)

    def _settle(self, one: RayJob, known: dict[str, RayJob]) -> None:
        """Hand in the lost job's run again, or record how it ended."""
        run = _run(one)
        if not one.goes_on or submission.is_cancelled(run.path):
            if submission.silence(run.path) > following.SILENT_S:  # it may yet say how it ended
                reason = "CANCELLED" if submission.is_cancelled(run.path) else one.ending
                following.record_loss(run, Word("gone", one.where, reason))
            return
        config = run.experiment().run
        number = one.number + 1
        if one.error != QUEUED_TOO_LONG:
            if fault := requeues.fault(run, config):
                run.write_status(state="failed", exit_code=1, message=fault)
                return
            requeues.begin(run, life=number)
        asked = request.of(run.path, config, number=number, variables=one.variables)
        print(f"lab: {one.id}: {one.ending}; goes on as {asked.id}", flush=True)
        run.write_status(**job.waiting("ray", asked.id))
        if asked.id not in known:
            self._cluster.submit(asked)
        submission.write(run.path, request.submitted(asked.id, config, number=number))


def _run(one: RayJob) -> RunDir:
    assert one.run is not None
    return RunDir(one.run)


def _is_open(one: RayJob) -> bool:
    return _run(one).recorded_status().state in following.OPEN


def _is_closed(one: RayJob) -> bool:
    """Whether nothing is left to do: the run has ended with this job, or goes on in a later one."""
    recorded = submission.read(_run(one).path)
    if recorded is None:
        return not _run(one).path.exists()
    if recorded.launcher != "ray" or recorded.number > one.number:
        return True
    return one.has_ended and not _is_open(one)


def release(jobs: Sequence[RayJob]) -> None:
    """End the jobs' supervisors, where they live."""
    command = [sys.executable, "-m", "labrun.launch.ray.release", *(one.id for one in jobs)]
    try:
        subprocess.run(command, stdin=subprocess.DEVNULL, timeout=RELEASE_S)
    except subprocess.TimeoutExpired:
        print(f"lab: Ray did not end {', '.join(command[3:])} in {RELEASE_S:g} s", flush=True)


def keep(look: Callable[[], bool]) -> int:
    """Look until no run has been open for a while; 1 where the cluster no longer answers."""
    answered = busy = time.monotonic()
    while True:
        try:
            if look():
                busy = time.monotonic()
            answered = time.monotonic()
        except (LabError, OSError) as error:
            print(f"lab: {error}", file=sys.stderr, flush=True)
        if time.monotonic() - answered > SILENT_CLUSTER_S:
            return 1
        if answered - busy > IDLE_S:
            return 0
        time.sleep(LOOK_S)


if __name__ == "__main__":
    streams.keep()
    sys.exit(keep(Keeper(Path(sys.argv[1]), Cluster(None), release).look))

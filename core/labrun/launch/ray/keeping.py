"""The keeper of a LABRUN_HOME: a small Ray Job on the head node that hands in lost runs again.

No command waits for runs on Ray, and Ray does not put a job back: a keeper does
(labrun/launch/ray/keeper.py). Each command that submits starts one where none lives, and a keeper
leaves when all runs of the folder have ended.
"""

import hashlib
import shlex
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from labrun.errors import LabError
from labrun.experiment import RayConfig
from labrun.launch.ray import request
from labrun.launch.ray.cluster import KEEPER, PYTHON, Cluster, RayJob, Request


def is_kept(home: Path, known: Mapping[str, RayJob]) -> bool:
    """Whether a keeper of the folder lives."""
    return any(not job.has_ended for job in _keepers(home, known))


def ensure(cluster: Cluster, home: Path, config: RayConfig) -> None:
    """Start a keeper of the folder where none lives. Raises LabError."""
    known = cluster.jobs()
    if is_kept(home, known):
        return
    digest = hashlib.sha256(str(home).encode()).hexdigest()[:8]
    number = len(_keepers(home, known))
    command = f"exec {config.python} -m labrun.launch.ray.keeper {shlex.quote(str(home))}"
    job = Request(
        f"labrun-keeper-{digest}-{number}",
        command,
        variables=request.shell_variables(config),
        metadata={KEEPER: str(home)},
    )
    try:
        cluster.submit(job)
    except LabError:
        with suppress(LabError):
            if is_kept(home, cluster.jobs()):  # another command was faster
                return
        raise


def end_at_once(cluster: Cluster, jobs: Sequence[RayJob]) -> None:
    """End the jobs and free what they hold, by a job on the head node. Raises LabError."""
    python, ids = jobs[0].metadata.get(PYTHON, "python"), (job.id for job in jobs)
    command = f"exec {python} -m labrun.launch.ray.release {shlex.join(ids)}"
    variables = jobs[0].variables
    cluster.submit(Request(f"labrun-release-{time.time_ns()}", command, variables=variables))


def _keepers(home: Path, known: Mapping[str, RayJob]) -> list[RayJob]:
    return [job for job in known.values() if job.metadata.get(KEEPER) == str(home)]

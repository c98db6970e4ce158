"""What a launcher on a cluster is: it takes runs, says what became of their jobs, and ends them.

`launcher=local` needs none while its command waits. A cluster's launcher starts one command a run,
on the first of the job's machines and on each further one:

    python -m labrun.launch.job RUN_DIR

That process (labrun/launch/job.py) supervises the worker (`python -m labrun.worker RUN_DIR`) as
`lab run` does on one machine: retries, hangs, endings and their words, time limit. So a launcher
need not know how a run ends. It reads that in the run directory, and asks its scheduler only where
that is silent (labrun/launch/following.py). The job's environment says where it runs:

    LABRUN_JOB          the launcher, the job's id and its try: "slurm 123_4 0"; names one life
    LABRUN_NODE_RANK    which of the job's machines this is; 0 where it is not set
    LABRUN_MEET         host:port at which the machines of one job meet
    LABRUN_ENDS         seconds since the epoch at which the job is ended; not set: no limit
"""

import importlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from labrun.errors import LabError
from labrun.experiment import Experiment, RunConfig
from labrun.runs.run_dir import RunDir
from labrun.runs.submission import Submitted

LAUNCHERS = {"slurm": "labrun.launch.slurm.launcher:Slurm", "ray": "labrun.launch.ray.launcher:Ray"}
"""Name -> module and class."""


@dataclass(frozen=True)
class Word:
    """What a scheduler says of one job."""

    state: Literal["waiting", "running", "gone", "unknown"]
    """`unknown`: the scheduler did not answer."""
    where: str = ""
    """The machines on which it runs."""
    reason: str = ""
    """Why it waits, how it ended, or why the scheduler did not answer."""


class Launcher(Protocol):
    """Hands runs to a scheduler. What it must remember of a job stands in `submitted.json`."""

    def check(self, runs: Sequence[RunConfig], *, home: Path | None) -> None:
        """Raise LabError, before anything is made, where a run could not be submitted: no
        scheduler, a request that it can never meet, settings that do not fit.

        `home`: where the runs will lie, which every node must see; None of a dry run, which submits
        nothing, not even a probe.
        """
        ...

    def submit(self, runs: Sequence[RunDir]) -> Iterator[tuple[RunDir, Submitted]]:
        """Hand in the runs of one command; each with its job, as soon as it is taken.

        Raises LabError where the scheduler refuses; the runs before it stay submitted.
        """
        ...

    def look(self, jobs: Sequence[Submitted]) -> Mapping[Submitted, Word]:
        """What the scheduler says of each job; asked once for all. Raises nothing."""
        ...

    def cancel(self, jobs: Sequence[Submitted], *, now: bool) -> None:
        """End the jobs: those that run save a checkpoint first, unless `now`.

        Raises LabError where the scheduler does not answer.
        """
        ...

    def plan(self, experiments: Sequence[Experiment]) -> str:
        """What a dry run prints of the submission: the script, the command."""
        ...


def of(name: str) -> Launcher:
    """The cluster's launcher of this name. Raises LabError where its packages are missing."""
    module, _, kind = LAUNCHERS[name].partition(":")
    try:
        return getattr(importlib.import_module(module), kind)()
    except ModuleNotFoundError as error:
        raise LabError(
            f"launcher={name}: {error.name} is not installed; pip install 'labrun[{name}]'"
        ) from error

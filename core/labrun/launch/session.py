"""The life of one command's runs: check all, then create all, run them, and keep the store."""

import os
import secrets
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from labrun.config import unused
from labrun.config.components import build
from labrun.config.credentials import masked, refuse_secrets
from labrun.config.experiments import (
    TRACKING_VARIABLE,
    expand,
    key_of,
    key_without_seed,
    replaced,
    studied,
)
from labrun.config.words import command_line
from labrun.errors import LabError, listed
from labrun.experiment import Experiment
from labrun.launch import continuing, following, jobs, submitting, waiting
from labrun.launch import local as executors
from labrun.launch.watch import Watch
from labrun.plan import Plan
from labrun.results import sinks
from labrun.runs import damage, resume_point, run_dir, run_index, submission
from labrun.runs.run_dir import RunDir
from labrun.runs.seals import DamagedError
from labrun.system import processes
from labrun.system.home import refuse_lockless, refuse_unwritable

if TYPE_CHECKING:
    from rich.console import Console

Plans = dict[str, Plan]
"""What each component of a run says of it, by section."""


def plan(overrides: Sequence[str], *, sweep: bool) -> list[Experiment]:
    """Every experiment of the command, composed and typed. Raises LabError before any work."""
    return planned(expand(overrides) if sweep else [overrides])


def planned(points: Sequence[Sequence[str]]) -> list[Experiment]:
    """The experiments of these overrides, in one group. Raises LabError for equal ones."""
    experiments = [one for point in points for one in studied(point)]
    for key, count in Counter(map(key_of, experiments)).items():
        if count > 1:
            same = next(e for e in experiments if key_of(e) == key)
            words = command_line(same.overrides)
            raise LabError(f"this sweep holds {count} equal runs: {words}")
    group = experiments[0].run.group or f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
    return [replace(e, run=replace(e.run, group=e.run.group or group)) for e in experiments]


def plan_from(
    parent: RunDir, overrides: Sequence[str], *, sweep: bool
) -> tuple[list[Experiment], list[Plans]]:
    """The experiments that go on from the parent, with its words where the overrides say nothing
    else, and their plans. Raises LabError before any work."""
    planned = plan(replaced(parent.experiment().overrides, overrides), sweep=sweep)
    plans = preflight(planned)
    return continuing.of(parent, planned, plans), plans


def preflight(experiments: Sequence[Experiment]) -> list[Plans]:
    """The plans of each experiment, after all its components and its launcher agreed to it."""
    for experiment in experiments:
        refuse_secrets(experiment)
        if uri := experiment.run.tracking.uri:
            from labrun.results.store import check_uri  # the store's modules wait for the first job

            check_uri(uri)
        sinks.check(experiment.run)
    known: dict[str, Plans] = {}
    plans = []
    for experiment in experiments:
        key = key_without_seed(experiment)
        if key not in known:
            known[key] = build(experiment).plan(experiment.run.resources)
        plans.append(known[key])
    lacks = submitting.lacks([experiment.run for experiment in experiments])
    launcher: Plans = {"launcher": Plan(missing=lacks)} if lacks else {}
    return [of_run | launcher for of_run in plans]


def missing(plans: Sequence[Plans]) -> list[str]:
    """What this machine lacks for these experiments: every sentence of theirs, once."""
    sentences = (line for of_run in plans for plan in of_run.values() for line in plan.missing)
    return list(dict.fromkeys(sentences))


def say_unused(experiments: Sequence[Experiment], plans: Sequence[Plans]) -> None:
    """Print the settings of the command that change nothing, on standard error."""
    for line in unused.remarks(experiments, plans):
        print(f"lab: {line}", file=sys.stderr)


def refuse_missing(plans: Sequence[Plans]) -> None:
    """Raise LabError where a run lacks something here; a dry run only prints it."""
    if sentences := missing(plans):
        raise LabError("; ".join(sentences))


def launch(
    experiments: Sequence[Experiment],
    home: Path,
    console: "Callable[[], Console]",
    *,
    go_on: Sequence[RunDir] = (),
    detach: bool = False,
    wait: bool = False,
) -> list[RunDir]:
    """Create and run all; returns their directories, whatever became of them.

    Of a sweep in a group that is there already, the runs that it holds are not made again: those
    that have ended and are not done go on, the others are left as they are. `go_on`: stopped runs
    that go on beside them. `detach`: a process of its own runs them. `wait`: follow them to their
    end, where something else runs them.
    """
    refuse_unwritable(home)
    asked = [*experiments, *(run.experiment() for run in go_on)]
    submitting.refuse_unseen([experiment.run for experiment in asked], home)
    held = _held(experiments, home) if len(experiments) > 1 else {}
    stopped = [run for run in held.values() if is_to_go_on(run)]
    for run in (again := [*go_on, *stopped]):
        _check_resumable(run, restart=False)
    new = list(experiments)
    if held:
        new = [experiment for experiment in experiments if key_of(experiment) not in held]
        told = f"{len(held) - len(stopped)} of {len(experiments)} runs are done or under way"
        print(f"lab: {told}; {len(stopped)} go on, {len(new)} begin", file=sys.stderr)
    uri = os.environ.get(TRACKING_VARIABLE)
    if new and uri and new[0].run.tracking.uri == uri:
        print(f"lab: MLflow's store is that of {TRACKING_VARIABLE}: {masked(uri)}", file=sys.stderr)
    if new and new[0].defaults:
        print(f"lab: your defaults: {'; '.join(map(masked, new[0].defaults))}", file=sys.stderr)
    runs = _created(new, home)
    _run([*again, *runs], home, console, detach=detach, wait=wait)
    return [*go_on, *held.values(), *runs]


def _held(experiments: Sequence[Experiment], home: Path) -> dict[str, RunDir]:
    """Those of the experiments that the group has runs of already, the newest of each."""
    groups = {experiment.run.group for experiment in experiments}
    members = [run for group in groups for run in run_index.members(group, home)]
    if not members:
        return {}
    wanted = set(map(key_of, experiments))
    found = {key_of(run.experiment()): run for run in members}
    return {key: run for key, run in found.items() if key in wanted}


def is_to_go_on(run: RunDir) -> bool:
    """Whether the run has ended, or lost its job, before it was done."""
    following.words([run])
    return run.status().state not in ("done", *following.OPEN)


def _run(
    runs: Sequence[RunDir],
    home: Path,
    console: "Callable[[], Console]",
    *,
    detach: bool,
    wait: bool,
) -> None:
    """Run all by their launcher: in this command, or in processes and jobs that outlive it."""
    if not runs:
        return
    for run in runs:
        submission.renew(run.path)
    if not submitting.outlives(runs[0].experiment().run, detach=detach):
        drain(runs, home, console)
        return
    submitting.submit(runs)
    if wait:
        waiting.follow(runs, home, console)


def _created(experiments: Sequence[Experiment], home: Path) -> list[RunDir]:
    """The directories of all runs, each marked as one that this process will start."""
    runs: list[RunDir] = []
    try:
        if experiments:
            refuse_lockless(home)
        for experiment in experiments:
            runs.append(_create(experiment, home))
    except (OSError, LabError) as error:
        for run in runs:
            shutil.rmtree(run.path, ignore_errors=True)
        if isinstance(error, LabError):
            raise
        raise LabError(
            f"run {len(runs) + 1} of {len(experiments)} cannot be created in {home}: "
            f"{error.strerror}; nothing was started; put it right, or set LABRUN_HOME"
        ) from error
    return runs


def _create(experiment: Experiment, home: Path) -> RunDir:
    fill = continuing.state_of(experiment.parent) if experiment.parent else None
    return run_dir.create(experiment, root=home, status=executors.awaited(), fill=fill)


def resume(
    runs: Sequence[RunDir],
    home: Path,
    console: "Callable[[], Console]",
    *,
    restart: bool = False,
    detach: bool = False,
    wait: bool = False,
) -> None:
    """Continue stopped runs from their last good checkpoint, or from step 0 with `restart`.

    Raises LabError before any work, and before any checkpoint is put aside. Of several runs the
    damaged ones are named and left out.
    """
    refuse_unwritable(home)
    following.words(runs, ask_all=True)
    ready = []
    for run in runs:
        try:
            _check_resumable(run, restart=restart)
            ready.append(run)
        except DamagedError as error:
            if len(runs) == 1:
                raise
            print(f"lab: left out {run.id}: {error}", file=sys.stderr)
    if not ready:
        raise LabError("all of these runs are damaged; `lab doctor` names the damaged files")
    for run in ready if restart else ():
        resume_point.restart(run)
    submitting.refuse_unseen([run.experiment().run for run in ready], home)
    _run(ready, home, console, detach=detach, wait=wait)


def _check_resumable(run: RunDir, *, restart: bool) -> None:
    """Raise LabError where the run cannot go on, and say which checkpoints it passes over."""
    refuse_unwritable(run.path)
    _let_its_job_end(run)
    state = run.status().state
    waits = state == "queued" and run.recorded_status().process not in ("", processes.me())
    if state == "running" or waits or (state == "done" and run.events_fault() is None):
        raise run_dir.not_resumable(run, state)
    os.close(run.claim())
    damage.refuse(run)
    experiment = run.experiment()
    for fault in [] if restart else resume_point.find(run).damage:
        print(f"lab: {run.id}: checkpoint passed over: {fault}", file=sys.stderr)
    refuse_missing([build(experiment).plan(experiment.run.resources)])


def present(runs: Sequence[RunDir]) -> list[RunDir]:
    """The runs whose directory still exists. Raises LabError if none does."""
    there = [run for run in runs if run.path.exists()]
    if not there:
        refuse_removed(runs)
    return there


def refuse_removed(runs: Sequence[RunDir]) -> None:
    """Raise LabError where a run's directory was removed while the command ran it."""
    if gone := [run.id for run in runs if not run.path.exists()]:
        raise LabError(f"the directories of these runs were removed: {listed(gone)}")


def _let_its_job_end(run: RunDir) -> None:
    """Wait for what a command that was killed has left, and for the job of a run that has just
    ended: it ends within moments."""
    give_up, lock = time.monotonic() + jobs.KILL_S, run.path / ".lock"
    has_ended = run.recorded_status().state in run_dir.ENDED
    while processes.is_only_supervised(lock, detached=has_ended) and time.monotonic() < give_up:
        time.sleep(executors.POLL_S)


def drain(runs: Sequence[RunDir], home: Path, console: "Callable[[], Console]") -> None:
    """Run all to their end, shown and mirrored."""
    executor = executors.make(runs[0].experiment().run.launcher)
    watch = Watch(runs, home, console)
    try:
        executor.drain(runs, watch.tick)
    finally:
        watch.close()

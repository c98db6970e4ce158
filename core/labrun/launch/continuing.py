"""A run goes on for more steps as a new run, from the last good checkpoint of its parent."""

import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from labrun.errors import LabError
from labrun.experiment import Experiment, Parent
from labrun.plain import flat, to_plain
from labrun.plan import Continues, Plan
from labrun.runs import resume_point
from labrun.runs.resume_point import ResumePoint
from labrun.runs.run_dir import EVENTS, RunDir
from labrun.system import regular_files

STEPS = "trainer.max_steps"
FREE = ("group", "sweep", "launcher", "max_retries", "hang_timeout_s", "stop_timeout_s")
"""Keys of the run itself that may change, beside those in OPEN."""
OPEN = ("keep_checkpoints", "resources.", "slurm.", "ray.", "tracking.", "evaluator.")
"""Beginnings of keys that may change: training does not depend on them."""


def of(
    parent: RunDir, experiments: Sequence[Experiment], plans: Sequence[Mapping[str, Plan]]
) -> list[Experiment]:
    """The experiments as runs that go on from `parent`.

    Raises LabError where it is under way or has no good checkpoint, for a setting that the saved
    state depends on, or where there is no step to go.
    """
    state = parent.status().state
    if state in ("queued", "running"):
        raise LabError(f"run {parent.id} is {state}; `lab cancel` it, or wait for its end")
    before, point = parent.experiment(), resume_point.find(parent)
    for fault in point.damage:
        print(f"lab: {parent.id}: checkpoint passed over: {fault}", file=sys.stderr)
    step = _step(parent, point)
    continued = []
    for experiment, plan in zip(experiments, plans, strict=True):
        known = plan["trainer"].continues
        changed = _changed(parent.id, before, experiment, known)
        _refuse_no_steps(experiment, step, parent)
        _refuse_other_processes(before, experiment, parent)
        follow = None if known is None else tuple(f"trainer.{k}" for k in known.follow_max_steps)
        lineage = Parent(
            run=parent.id,
            directory=str(parent.path),
            step=step,
            changed=changed,
            follow_max_steps=follow,
        )
        continued.append(replace(experiment, parent=lineage))
    return continued


def _step(parent: RunDir, point: ResumePoint) -> int:
    if point.path is None:
        raise LabError(f"run {parent.id} has no checkpoint to go on from; start a new run")
    if point.events is None:
        raise LabError(
            f"{point.path} is a checkpoint of an earlier version, which does not say what the run "
            "had logged by then; `lab run` a new one"
        )
    return int(point.path.name)


def _refuse_no_steps(experiment: Experiment, step: int, parent: RunDir) -> None:
    wanted = experiment.settings["trainer"].get("max_steps", 0)
    if wanted <= step:
        raise LabError(
            f"{STEPS}={wanted}: run {parent.id} has made {step} steps; say max_steps=N with more"
        )


def _refuse_other_processes(before: Experiment, now: Experiment, parent: RunDir) -> None:
    had, wanted = before.run.resources.processes, now.run.resources.processes
    if had != wanted:
        raise LabError(
            f"resources ask for {wanted} processes: {had} share the saved state of run "
            f"{parent.id}; ask for as many"
        )


def _changed(
    parent: str, before: Experiment, now: Experiment, known: Continues | None
) -> tuple[str, ...]:
    """The trainer's settings that differ and may. Raises LabError for any that may not."""
    old, new = _settings(before), _settings(now)
    free = [f"trainer.{key}" for key in known.free] if known else []
    changed = [key for key in {**old, **new} if old.get(key) != new.get(key) and key != STEPS]
    for key in changed:
        if not _may_change(key, free):
            mine, theirs = _word(new.get(key)), _word(old.get(key))
            raise LabError(
                f"{key}={mine}: run {parent} has {theirs}, on which its saved state depends; "
                f"--from changes {', '.join([STEPS, *free])}, evaluators and where the run runs; "
                "start a new run for the rest"
            )
    return tuple(key for key in changed if key.startswith("trainer."))


def _may_change(key: str, free: Sequence[str]) -> bool:
    return key in FREE or key.startswith(OPEN) or any(f"{key}.".startswith(f"{f}.") for f in free)


def _word(value: Any) -> str:
    return "nothing" if value is None else str(value)


def _settings(experiment: Experiment) -> dict[str, Any]:
    """Every setting by its full key, components too; presets count by what they set."""
    parts = {f"{section}.component": name for section, name in experiment.components.items()}
    run = dict(flat(to_plain(experiment.run)))
    settings = dict(flat(to_plain(experiment.settings)))
    return {"plugin": experiment.plugin, **parts, **run, **settings}


def state_of(parent: Parent) -> Callable[[Path], None]:
    """What fills a new run's directory with the parent's state at its checkpoint."""
    return partial(_fill, RunDir(Path(parent.directory)), f"{parent.step:08d}")


def _fill(parent: RunDir, name: str, target: Path) -> None:
    """Copy the checkpoint, the events up to it, and the data's fingerprint.

    Raises LabError where the checkpoint is no longer there or good.
    """
    point = resume_point.find(parent)
    if point.path is None or point.path.name != name or point.events is None:
        raise LabError(f"checkpoint {name} of run {parent.id} has gone meanwhile; try again")
    shutil.copytree(point.path, target / "checkpoints" / name)
    with regular_files.opened(parent.path / EVENTS) as events:
        (target / EVENTS).write_bytes(events.read(point.events.bytes))
    data = parent.path / "data.json"
    if data.exists():
        shutil.copyfile(data, target / data.name)

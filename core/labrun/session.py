"""The life of one command's runs: check all, then create all, run them, and keep the store."""

import os
import secrets
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from labrun import checkpoints, config, executors, run_dir
from labrun.display import Display
from labrun.errors import LabError
from labrun.parts import build
from labrun.run_config import Experiment
from labrun.run_dir import RunDir
from labrun.store import LiveMirror, check_uri
from labrun.words import command_line

Facts = dict[str, Mapping[str, object]]


def plan(overrides: Sequence[str], *, sweep: bool) -> list[Experiment]:
    """Every experiment of the command, composed and typed. Raises LabError before any work."""
    points = config.expand(overrides) if sweep else [list(overrides)]
    experiments = [one for point in points for one in config.studied(point)]
    for key, count in Counter(map(config.key_of, experiments)).items():
        if count > 1:
            same = next(e for e in experiments if config.key_of(e) == key)
            words = command_line(same.overrides)
            raise LabError(f"this sweep holds {count} equal runs: {words}")
    group = experiments[0].run.group or f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
    return [replace(e, run=replace(e.run, group=e.run.group or group)) for e in experiments]


def preflight(experiments: Sequence[Experiment]) -> list[Facts]:
    """The facts of each experiment, after all its components and its launcher agreed to it."""
    for experiment in experiments:
        check_uri(experiment.run.tracking.uri)
    known: dict[str, Facts] = {}
    facts = []
    for experiment in experiments:
        key = config.key_without_seed(experiment)
        if key not in known:
            parts = build(experiment).preflight(experiment.run.resources)
            known[key] = parts | _launcher_facts(experiment)
        facts.append(known[key])
    return facts


def _launcher_facts(experiment: Experiment) -> Facts:
    """What the launcher lacks here: the plan may be for another machine."""
    try:
        executors.make(experiment.run.launcher).preflight(experiment.run)
    except LabError as error:
        return {"launcher": {"missing": [str(error)]}}
    return {}


def missing(facts: Sequence[Facts]) -> list[str]:
    """What this machine lacks for these experiments: every sentence under `missing`, once."""
    found: dict[str, None] = {}
    for section in (section for known in facts for section in known.values()):
        sentences = section.get("missing", ())
        assert isinstance(sentences, list | tuple)
        found |= dict.fromkeys(map(str, sentences))
    return list(found)


def refuse_missing(facts: Sequence[Facts]) -> None:
    """Raise LabError where a run lacks something here; a dry run only prints it."""
    if sentences := missing(facts):
        raise LabError("; ".join(sentences))


def launch(experiments: Sequence[Experiment], home: Path, console: Console) -> list[RunDir]:
    """Create and run all; returns their directories, whatever became of them."""
    runs = [run_dir.create(experiment, root=home) for experiment in experiments]
    drain(runs, home, console)
    return runs


def resume(runs: Sequence[RunDir], home: Path, console: Console, *, restart: bool = False) -> None:
    """Go on with stopped runs from their last good checkpoint, or from step 0 with `restart`.

    Raises LabError before any work, and before any checkpoint is put aside.
    """
    for run in runs:
        state = run.status().state
        if state in ("running", "done"):
            raise run_dir.not_resumable(run, state)
        os.close(run.claim())
        if not restart:
            checkpoints.latest(run.checkpoints)
        experiment = run.experiment()
        refuse_missing([build(experiment).preflight(experiment.run.resources)])
    for run in runs if restart else ():
        _put_checkpoints_aside(run)
    drain(runs, home, console)


def _put_checkpoints_aside(run: RunDir) -> None:
    """Rename the run's checkpoints, so that it begins at step 0; nothing is deleted."""
    run.checkpoints.rename(run.path / f"checkpoints.aside-{int(time.time())}")
    run.checkpoints.mkdir()


def drain(runs: Sequence[RunDir], home: Path, console: Console) -> None:
    executor = executors.make(runs[0].experiment().run.launcher)
    display, mirror = Display(runs, console), LiveMirror(home, runs)

    def tick() -> None:
        display.tick()
        mirror.tick()

    try:
        executor.drain(runs, tick)
    finally:
        display.flush()
        display.close()
        mirror.close()

"""What the commands print about plans, and at their end."""

import os
import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import typer
from rich.console import Console

from labrun.attempts import failures
from labrun.cli.listing import print_run, print_runs, print_warnings
from labrun.config.credentials import masked
from labrun.config.words import command_line
from labrun.errors import LabError
from labrun.experiment import Experiment, RunConfig
from labrun.launch import launchers
from labrun.plain import flat, to_plain
from labrun.plan import Plan
from labrun.plugins import discovery
from labrun.plugins.building import config_class
from labrun.results import compare as comparison
from labrun.results.report import compare
from labrun.runs import run_index, submission
from labrun.runs.run_dir import RunDir, config_hash, has_checkpoint
from labrun.runs.signs import TAIL_BYTES
from labrun.system import regular_files

__all__ = [
    "compare",
    "finish",
    "print_failures",
    "print_missing",
    "print_plan",
    "print_run",
    "print_runs",
    "print_submission",
    "print_submitted",
    "print_warnings",
    "refuse_failed",
]

LOG_LINES = 12
MOST_SUBMITTED = 10


def print_plan(
    experiments: Sequence[Experiment],
    plans: Sequence[Mapping[str, Plan]],
    console: Console,
    *,
    whole: bool = False,
) -> None:
    """What `lab run` would do: the first run's settings and facts, and the words of each run.

    Of the settings those that are not at their default; all of them with `whole`.
    """
    first = experiments[0]
    console.print(f"plan: {len(experiments)} run(s) of plugin {first.plugin}; nothing was started")
    settings = list(_settings(first))
    changed = [row for row, is_default in settings if whole or not is_default]
    rows = [("section", "key", "value"), *_preset_rows(first), *changed]
    for section, plan in plans[0].items():
        rows += [(f"{section} facts", name, str(value)) for name, value in plan.facts.items()]
    own = (masked(text).partition("=") for text in first.defaults)
    rows += [("your default", key, value) for key, _, value in own]
    _print_rows(rows, console)
    if left := len(settings) - len(changed):
        console.print(f"{left} more settings have their defaults; --all prints them")
    for experiment in experiments:
        words = command_line(experiment.overrides)
        console.print(f"  {config_hash(experiment)}  {words}", soft_wrap=True)


def print_submission(experiments: Sequence[Experiment], console: Console) -> None:
    """What a cluster's launcher would submit: its script."""
    name = experiments[0].run.launcher
    if name != submission.LOCAL:
        text = launchers.of(name).plan(experiments)
        console.print(text, soft_wrap=True, markup=False, highlight=False)


def print_submitted(runs: Sequence[RunDir], console: Console) -> None:
    """Which jobs have the runs, and how to follow them."""
    jobs = {run.id: submission.read(run.path) for run in runs}
    for run_id, job in list(jobs.items())[:MOST_SUBMITTED]:
        where = "a process of its own" if job and not job.is_of_cluster else str(job)
        console.print(f"{run_id}  {where}", soft_wrap=True)
    if (more := len(jobs) - MOST_SUBMITTED) > 0:
        console.print(f"and {more} more", soft_wrap=True)
    group = shlex.quote(runs[0].experiment().run.group)
    console.print(f"follow   {_lab()} status -f --group {group}", soft_wrap=True)
    console.print(f"results  {_lab()} compare --group {group}", soft_wrap=True)


Row = tuple[str, str, str]
"""Section, key, value."""


def _preset_rows(experiment: Experiment) -> list[Row]:
    chosen = sorted(experiment.choices.items())
    components = experiment.components.items()
    return [
        *(("preset", name, value) for name, value in chosen),
        *((section, "component", name) for section, name in components),
    ]


def _settings(experiment: Experiment) -> Iterator[tuple[Row, bool]]:
    """Every setting, and whether it has its default."""
    yield from _rows("run", to_plain(experiment.run), to_plain(RunConfig()))
    for section, values in experiment.settings.items():
        yield from _rows(section, values, _defaults(section, experiment.components[section]))


def _rows(
    section: str, values: Mapping[str, Any], defaults: Mapping[str, Any]
) -> Iterator[tuple[Row, bool]]:
    known = dict(flat(defaults))
    for key, value in flat(values):
        yield (section, key, str(value)), key in known and known[key] == value


def _defaults(section: str, component: str) -> Mapping[str, Any]:
    kind, owner = section.partition(".")[0], component.partition(".")[0]
    _, found = discovery.find(kind, component, discovery.load(owner))  # pyrefly: ignore[bad-argument-type]
    return to_plain(config_class(owner, found)())


def _print_rows(rows: Sequence[Row], console: Console) -> None:
    """The rows in columns, no value cut off: a pipe has no width."""
    first, second = (max(len(row[column]) for row in rows) for column in (0, 1))
    for section, key, value in rows:
        console.print(f"{section:<{first}}  {key:<{second}}  {value}", soft_wrap=True)


def print_missing(sentences: Sequence[str], console: Console) -> None:
    """The end of a dry run: why `lab run` would refuse this plan on this machine."""
    if sentences:
        heading = "missing on this machine; a run here is refused until it is there:"
        console.print(heading, style="yellow")
    for sentence in sentences:
        console.print(f"  - {sentence}", style="yellow", markup=False, soft_wrap=True)


def finish(runs: Sequence[RunDir], home: Path, console: Console) -> None:
    """The end of `lab run` and `lab resume`: failures first, then the table and the figures of the
    runs' whole group, the next commands and the warnings of these runs.

    Raises typer.Exit with the first failed run's code where any run is not done. A table that
    cannot be made or written is one line: the runs have ended as they did.
    """
    failed = print_failures(runs, console)
    if len(failed) < len(runs):
        try:
            _print_results(runs, home, console)
        except (LabError, OSError) as error:
            again = "`lab compare` makes them again"
            print(f"lab: the results cannot be shown now: {error}; {again}", file=sys.stderr)
    for run in runs:
        print_warnings(run, console)
    refuse_failed(failed)


def print_failures(runs: Sequence[RunDir], console: Console) -> list[RunDir]:
    """The runs that are not done, each with its reason and the next step."""
    failed = [run for run in runs if run.status().state != "done"]
    for run in failed:
        _print_failure(run, console)
    return failed


def refuse_failed(failed: Sequence[RunDir]) -> None:
    """Raise typer.Exit with the first failed run's code."""
    if failed:
        raise typer.Exit(failed[0].status().exit_code or 1)


def _print_results(runs: Sequence[RunDir], home: Path, console: Console) -> None:
    groups = list(dict.fromkeys(run.experiment().run.group for run in runs))
    compare(_beside(runs, groups, home), home, console)
    for group in groups:
        console.print(f"runs     {home} (group {group})", soft_wrap=True)
        words = shlex.quote(group)
        console.print(f"again    {_lab()} compare --group {words}", soft_wrap=True)
    for uri in dict.fromkeys(run.experiment().run.tracking.uri for run in runs):
        console.print(f"ui       {_ui(uri)}   (MLflow, every curve of every run)", soft_wrap=True)


def _beside(runs: Sequence[RunDir], groups: Sequence[str], home: Path) -> list[RunDir]:
    """The runs of these groups; only the given ones where the groups hold an arm's seed twice."""
    members = [run for group in groups for run in run_index.members(group, home)]
    try:
        comparison.check_seeds(comparison.arms(members))
    except LabError:
        return list(runs)
    return members


def _ui(uri: str) -> str:
    """How the user sees the store at this tracking URI."""
    if not uri:
        return f"{_lab()} ui"
    if uri.startswith("sqlite:"):
        return f"mlflow ui --backend-store-uri {uri}"
    return masked(uri, by="")


def _lab() -> str:
    """How the user starts `lab` here: by its name, or by its path where it is not on PATH."""
    found = shutil.which("lab")
    me = Path(sys.argv[0])
    if me.name != "lab" or not me.exists() or (found and Path(found).samefile(me)):
        return "lab"
    return os.path.relpath(me)


def _tail(log: Path) -> list[str]:
    """The last lines of a log, however long it is; none of one that cannot be read."""
    try:
        with regular_files.opened(log) as lines:
            lines.seek(max(0, lines.seek(0, os.SEEK_END) - TAIL_BYTES))
            return lines.read().decode(errors="replace").splitlines()[-LOG_LINES:]
    except OSError:
        return []


def _print_failure(run: RunDir, console: Console) -> None:
    status = run.status()
    text = f"{run.id}: {status.state} (exit {status.exit_code}) {status.message}"
    console.print(text, style="red", soft_wrap=True)
    if status.state in ("failed", "hung", "killed") and (tail := _tail(run.path / "stdio.log")):
        console.print("\n".join(f"  | {line}" for line in tail), markup=False, soft_wrap=True)
    if status.state == "diverged":
        console.print(f"  its last good checkpoint is kept in {run.checkpoints}", soft_wrap=True)
    elif status.state != "refused":
        then = "goes on from its last checkpoint" if has_checkpoint(run) else "begins again"
        if (failure := failures.of(run, attempt=status.attempt)) and failure.programming:
            console.print(
                "  not tried again, since it would fail alike; mend it first", markup=False
            )
        console.print(f"  {_lab()} resume {run.id}   {then}", soft_wrap=True)

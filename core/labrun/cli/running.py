"""Starting runs and looking after them: run, resume, status, logs, cancel, data."""

import gc
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from labrun.cli.options import Detach, Follow, Group, Multirun, Overrides, RunNames, Wait, console
from labrun.errors import LabError
from labrun.system import streams

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from labrun.config.placed_words import Placed
    from labrun.experiment import Experiment
    from labrun.launch import session
    from labrun.runs.run_dir import RunDir


def run(
    overrides: Overrides,
    multirun: Multirun = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything and print the plan.")
    ] = False,
    everything: Annotated[
        bool, typer.Option("--all", help="With --dry-run: settings at their defaults, too.")
    ] = False,
    wait: Wait = False,
    detach: Detach = False,
    parent: Annotated[
        str | None,
        typer.Option("--from", help="Go on from this run with more steps, as a new run."),
    ] = None,
) -> None:
    """Run an experiment: lab run plugin=rlrt method=grpo seed=1; @my.yaml takes words of a file."""
    from labrun.config import word_files
    from labrun.launch import session, submitting
    from labrun.runs.run_dir import home

    points = word_files.spread(overrides)
    with word_files.located(points):
        if parent is None:
            experiments = _planned(points, multirun=multirun)
            plans = session.preflight(experiments)
        else:
            experiments, plans = _continued(parent, points, multirun=multirun)
    session.say_unused(experiments, plans)
    if dry_run:
        from labrun.cli import reports as report

        report.print_plan(experiments, plans, console(), whole=everything)
        report.print_submission(experiments, console())
        report.print_missing(session.missing(plans), console())
        return
    session.refuse_missing(plans)
    _look_for_garbage()
    if submitting.outlives(experiments[0].run, detach=detach):
        runs = session.launch(experiments, home(), console, detach=detach, wait=wait)
        _after_submission(runs, waited=wait)
        return
    with streams.unheld():
        runs = session.launch(experiments, home(), _console_and_reports)
    from labrun.cli import reports as report

    report.finish(session.present(runs), home(), console())
    session.refuse_removed(runs)


def resume(
    names: RunNames = None,
    group: Group = None,
    restart: Annotated[
        bool, typer.Option(help="Begin again at step 0; its checkpoints are put aside.")
    ] = False,
    wait: Wait = False,
    detach: Detach = False,
) -> None:
    """Continue stopped runs from their last good checkpoint."""
    from labrun.cli import reports as report
    from labrun.launch import session, submitting
    from labrun.runs.run_dir import home
    from labrun.runs.run_index import select

    runs = [
        run for run in select(names or [], group, home()) if names or run.status().state != "done"
    ]
    if not runs:
        raise LabError("every run of this group is done")
    _look_for_garbage()
    if submitting.outlives(runs[0].experiment().run, detach=detach):
        session.resume(runs, home(), console, restart=restart, detach=detach, wait=wait)
        _after_submission(runs, waited=wait)
        return
    with streams.unheld():
        session.resume(runs, home(), console, restart=restart)
    report.finish(session.present(runs), home(), console())
    session.refuse_removed(runs)


def status(group: Group = None, follow: Follow = False) -> None:
    """Show the runs that have not ended: where each stands and who runs it."""
    from labrun.cli import under_way
    from labrun.results.store import catch_up
    from labrun.runs.run_dir import home

    _look_for_garbage()
    found = under_way.show(home(), group, console(), follow=follow)
    catch_up(home(), found)


def logs(
    name: Annotated[str, typer.Argument(help="A run id, or `last`.")] = "last",
    follow: Follow = False,
) -> None:
    """Print what a run's processes have printed."""
    from labrun.cli import logs as output
    from labrun.runs import run_index
    from labrun.runs.run_dir import home

    output.show(run_index.find(name, home()), follow=follow)


def cancel(
    names: RunNames = None,
    group: Group = None,
    now: Annotated[bool, typer.Option("--now", help="At once, without a checkpoint.")] = False,
) -> None:
    """Stop runs, wherever they run; each saves a checkpoint first."""
    from labrun.launch import submitting
    from labrun.runs.run_dir import home
    from labrun.runs.run_index import select

    if not names and group is None:
        raise LabError("name the runs to cancel, `last`, or --group NAME")
    runs = select(names or [], group, home(), archived=True)
    for run_id, done in submitting.cancel(runs, now=now).items():
        print(f"{run_id}: {done}")


def data_make(overrides: Overrides, multirun: Multirun = False) -> None:
    """Make the data of an experiment: lab data make plugin=stairs suite=grid quality=medium."""
    from labrun.cli import data
    from labrun.config import word_files

    points = word_files.spread(overrides)
    with word_files.located(points):
        data.make(_planned(points, multirun=multirun), console())


Dataset = Annotated[
    str, typer.Option("--dataset", help="The dataset that reads them, such as marl.offline.")
]


def data_show(
    path: Annotated[Path, typer.Argument(help="A folder of data files, or one file.")],
    dataset: Dataset = "",
) -> None:
    """Print the tasks, sizes, returns, win rates and faults of data files."""
    from labrun.cli import data_files

    data_files.show(path, dataset, console())


def data_convert(
    source: Annotated[Path, typer.Argument(help="A folder in the form of another project.")],
    target: Annotated[Path, typer.Argument(help="The folder for dataset.path.")],
    task: Annotated[str, typer.Option(help="The task's name here, such as 3m.")],
    quality: Annotated[
        str, typer.Option(help="The name of the folder of its quality.")
    ] = "converted",
    episode_length: Annotated[
        int,
        typer.Option(help="Steps of every episode, where dones are all 0.", min=0),
    ] = 0,
    dataset: Dataset = "",
) -> None:
    """Write data of another project as files that a dataset reads; every episode is checked."""
    from labrun.cli import data_files

    data_files.convert(
        source,
        target,
        task=task,
        quality=quality,
        episode_length=episode_length,
        dataset=dataset,
        console=console(),
    )


def data_record(
    run: Annotated[str, typer.Argument(help="A run that is done: its id, or `last`.")],
    target: Annotated[Path, typer.Argument(help="The folder for dataset.path.")],
    task: Annotated[
        list[str] | None, typer.Option(help="Play this task; without any, those trained on.")
    ] = None,
    quality: Annotated[str, typer.Option(help="The name of the folder of its quality.")] = (
        "trained"
    ),
    num_episodes: Annotated[int, typer.Option(min=1, help="Episodes of each task.")] = 500,
    noise: Annotated[
        float, typer.Option(min=0, max=1, help="Chance that an agent's action is drawn at random.")
    ] = 0.0,
    seed: Annotated[int, typer.Option(min=0, help="Other seeds give other episodes.")] = 0,
) -> None:
    """Write episodes that a trained run plays, as files that a dataset reads."""
    from labrun.cli import data_files
    from labrun.runs import run_index
    from labrun.runs.run_dir import home

    data_files.record(
        run_index.find(run, home()),
        target,
        tasks=task or (),
        quality=quality,
        num_episodes=num_episodes,
        noise=noise,
        seed=seed,
        console=console(),
    )


def _planned(points: "list[list[Placed]]", *, multirun: bool) -> "list[Experiment]":
    from labrun.config import experiments, word_files
    from labrun.launch import session

    sets = [word_files.texts(words) for words in points]
    if multirun:
        return session.planned([point for words in sets for point in experiments.expand(words)])
    for words in points:
        refuse_sweep(words)
    return session.planned(sets)


def refuse_sweep(words: "Sequence[Placed]") -> None:
    """Raise LabError, with the place of a file's word, where a word holds several values."""
    from labrun.config.experiments import is_sweep

    for word in words:
        if is_sweep([word.word]):
            where = f" ({word.place})" if word.place else ""
            text = "a value with commas is a sweep: add -m (or quote it: key='a,b')"
            raise LabError(f"{text}{where}")


def _continued(
    name: str, points: "list[list[Placed]]", *, multirun: bool
) -> "tuple[list[Experiment], list[session.Plans]]":
    """The experiments that go on from this run, and their plans; what they mean is said."""
    from labrun.config import word_files
    from labrun.launch import session
    from labrun.results import lineage
    from labrun.runs import run_index
    from labrun.runs.run_dir import home

    if len(points) > 1:
        raise LabError("--from takes one set of words; the file has several arms")
    if not multirun:
        refuse_sweep(points[0])
    parent = run_index.find(name, home())
    experiments, plans = session.plan_from(parent, word_files.texts(points[0]), sweep=multirun)
    for line in dict.fromkeys(lineage.line(e.parent) for e in experiments if e.parent):
        print(f"lab: {line}", file=sys.stderr)
    return experiments, plans


def _after_submission(runs: "list[RunDir]", *, waited: bool) -> None:
    """The end of a command whose runs outlive it; of one that has followed them, the results."""
    from labrun.cli import reports as report
    from labrun.launch import session
    from labrun.results.store import catch_up
    from labrun.runs.run_dir import home

    if waited:
        report.finish(session.present(runs), home(), console())
        return
    report.print_submitted(runs, console())
    catch_up(home())


def _console_and_reports() -> "Console":
    """The console, and with it what prints the results, imported while the jobs start."""
    from labrun.cli import reports as _  # noqa: F401

    return console()


def _look_for_garbage() -> None:
    """Look for it again, but not in what the start has made: that stays, and takes 40 ms."""
    gc.freeze()
    gc.enable()

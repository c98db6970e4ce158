"""The command `lab`. Heavy imports stand inside the commands that need them."""

import gc
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from labrun.errors import EXIT_CONFIG, LabError
from labrun.system import streams

if TYPE_CHECKING:
    from threading import Thread

    from rich.console import Console

    from labrun.experiment import Experiment
    from labrun.runs.run_dir import RunDir


app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="One lab for training methods: run, compare and add them as plugins.",
)

Overrides = Annotated[list[str], typer.Argument(help="key=value; see `lab plugins NAME`.")]
Multirun = Annotated[
    bool, typer.Option("-m", "--multirun", help="Every combination of key=a,b values.")
]
RunNames = Annotated[
    list[str] | None, typer.Argument(help="Run ids, beginnings of ids, or `last`.")
]
Group = Annotated[str | None, typer.Option(help="Every run of this group.")]
Wait = Annotated[
    bool, typer.Option("--wait", help="Follow runs that a cluster or another process runs.")
]
Detach = Annotated[
    bool, typer.Option("--detach", help="End now; a process of its own runs them here.")
]
Follow = Annotated[bool, typer.Option("-f", "--follow", help="Go on until all have ended.")]


def main() -> None:
    """Run `lab`; a LabError is one line on stderr and exit code 2. No trouble of the terminal, the
    pipe or the disk behind the output ends it."""
    streams.keep()
    gc.disable()  # what starting makes stays: looking for garbage in it takes a quarter of the time
    try:
        app()
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


@app.command()
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
) -> None:
    """Run an experiment: lab run plugin=rlrt method=grpo seed=1."""
    from labrun.launch import session, submitting
    from labrun.runs.run_dir import home

    experiments = _planned(overrides, multirun=multirun)
    plans = session.preflight(experiments)
    if dry_run:
        from labrun.cli import reports as report

        report.print_plan(experiments, plans, _console(), whole=everything)
        report.print_submission(experiments, _console())
        report.print_missing(session.missing(plans), _console())
        return
    session.refuse_missing(plans)
    gc.enable()
    if submitting.outlives(experiments[0].run, detach=detach):
        runs = session.launch(experiments, home(), _console(), detach=detach, wait=wait)
        _after_submission(runs, waited=wait)
        return
    report_ahead = _import_ahead("labrun.cli.reports")
    with streams.unheld():
        runs = session.launch(experiments, home(), _console())
    report_ahead.join()
    from labrun.cli import reports as report

    report.finish(session.present(runs), home(), _console())
    session.refuse_removed(runs)


@app.command()
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
    gc.enable()
    if submitting.outlives(runs[0].experiment().run, detach=detach):
        session.resume(runs, home(), _console(), restart=restart, detach=detach, wait=wait)
        _after_submission(runs, waited=wait)
        return
    with streams.unheld():
        session.resume(runs, home(), _console(), restart=restart)
    report.finish(session.present(runs), home(), _console())
    session.refuse_removed(runs)


@app.command()
def plugins(
    name: Annotated[str | None, typer.Argument(help="Show this plugin's methods and keys.")] = None,
    key: Annotated[str, typer.Argument(help="Show only the keys that hold this text.")] = "",
    check: Annotated[
        bool, typer.Option("--check", help="Check it against the contract; exit code 2 at a fault.")
    ] = False,
    grep: Annotated[str, typer.Option(help="The same as KEY.")] = "",
) -> None:
    """List the installed plugins, or show one with all its keys."""
    from labrun.plugins.discovery import installed

    if check:
        _check_plugins([name] if name else [*installed()])
        return
    if name:
        from labrun.cli.describe import print_plugin

        print_plugin(name, _console(), only=key or grep)
        return
    for plugin, claims in installed().items():
        owners = " and ".join(f"{c.distribution} {c.version}" for c in claims)
        conflict = "  CONFLICT: uninstall one" if len(claims) > 1 else ""
        print(f"{plugin:<14} {owners:<28} {claims[0].module}{conflict}")


def _check_plugins(names: list[str]) -> None:
    """Print what is wrong in each, one line a fault; exit code 2 where there is a fault."""
    from labrun.config.contract_check import faults, summary

    wrong = {name: faults(name) for name in names}
    for name, lines in wrong.items():
        for line in lines:
            print(line if line.startswith("plugin ") else f"{name}: {line}", file=sys.stderr)
        if not lines:
            print(summary(name))
    if any(wrong.values()):
        raise typer.Exit(EXIT_CONFIG)


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="The plugin's name, such as my_method.")],
    kind: Annotated[str, typer.Option(help="What it builds on: grpo, offline or plain.")] = "grpo",
    parent: Annotated[str, typer.Option("--dir", help="Where its folder is made.")] = ".",
) -> None:
    """Write a package with a method of your own: lab new my_method --kind grpo."""
    from pathlib import Path

    from labrun.cli.new import create, next_commands

    folder = create(name, kind, Path(parent))
    print(f"lab: wrote {folder}; go on with")
    for command in next_commands(name, folder):
        print(f"  {command}")


runs_app = typer.Typer(
    invoke_without_command=True, rich_markup_mode=None, help="List the runs, or show one."
)
app.add_typer(runs_app, name="runs")


@runs_app.callback()
def runs_default(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        runs_list()


@runs_app.command("list")
def runs_list(group: Group = None) -> None:
    """List the runs, oldest first."""
    from labrun.cli import listing
    from labrun.results.store import catch_up
    from labrun.runs import run_index
    from labrun.runs.run_dir import home

    found = run_index.entries(home())
    listing.print_runs(run_index.in_group(group, found) if group else found, _console())
    catch_up(home(), found)


@runs_app.command("show")
def runs_show(name: Annotated[str, typer.Argument(help="A run id, or `last`.")]) -> None:
    """Show one run: its state, settings, scores and files."""
    from labrun.cli import listing
    from labrun.results.store import catch_up
    from labrun.runs import run_index
    from labrun.runs.run_dir import home

    shown = run_index.find(name, home())
    listing.print_run(shown, _console())
    catch_up(home(), run_index.of([shown]))


@app.command()
def status(group: Group = None, follow: Follow = False) -> None:
    """Show the runs that have not ended: where each stands and who runs it."""
    from labrun.cli import under_way
    from labrun.results.store import catch_up
    from labrun.runs.run_dir import home

    gc.enable()
    found = under_way.show(home(), group, _console(), follow=follow)
    catch_up(home(), found)


@app.command()
def logs(
    name: Annotated[str, typer.Argument(help="A run id, or `last`.")] = "last",
    follow: Follow = False,
) -> None:
    """Print what a run's processes have printed."""
    from labrun.cli import logs as output
    from labrun.runs import run_index
    from labrun.runs.run_dir import home

    output.show(run_index.find(name, home()), follow=follow)


@app.command()
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
    for run_id, done in submitting.cancel(select(names or [], group, home()), now=now).items():
        print(f"{run_id}: {done}")


data_app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Data that are made before the runs."
)
app.add_typer(data_app, name="data")


@data_app.command("make")
def data_make(overrides: Overrides, multirun: Multirun = False) -> None:
    """Make the data of an experiment: lab data make plugin=stairs suite=grid quality=medium."""
    from labrun.cli import data

    data.make(_planned(overrides, multirun=multirun), _console())


@app.command()
def compare(
    names: RunNames = None,
    group: Group = None,
    metric: Annotated[
        list[str] | None, typer.Option(help="Series or score to draw; may be repeated.")
    ] = None,
    smooth: Annotated[int, typer.Option(min=1, help="Steps averaged in the curves.")] = 5,
    baseline: Annotated[
        str | None, typer.Option(help="Arm against which the others are tested, seed by seed.")
    ] = None,
    out: Annotated[str | None, typer.Option(help="Folder for the PNG and CSV.")] = None,
) -> None:
    """Table of scores (mean, 95% t-interval over seeds) and a PNG of the learning curves."""
    from pathlib import Path

    from labrun.cli import reports as report
    from labrun.results.store import catch_up
    from labrun.runs import run_index
    from labrun.runs.run_dir import home

    runs = run_index.select(names or [], group, home())
    folder = Path(out) if out else None
    report.compare(
        runs, home(), _console(), metrics=metric, smooth=smooth, baseline=baseline, out=folder
    )
    catch_up(home(), run_index.of(runs))


@app.command()
def ui(
    port: Annotated[int, typer.Option(min=1, max=65535)] = 5000,
    host: Annotated[str, typer.Option(help="Loopback unless you say otherwise.")] = "127.0.0.1",
) -> None:
    """Serve the MLflow dashboards of the runs in LABRUN_HOME (or ./runs)."""
    import os

    from labrun.results.store import (
        catch_up,
        ensure_sqlite,
        refuse_elsewhere,
        say_damaged,
        sqlite_uri,
    )
    from labrun.runs.run_dir import home
    from labrun.system.home import refuse_unwritable

    refuse_unwritable(home())
    refuse_elsewhere(home() / "mlflow.db")
    say_damaged(home())
    ensure_sqlite(home() / "mlflow.db")
    catch_up(home(), seconds=5.0)
    where = ["--backend-store-uri", sqlite_uri(home()), "--host", host, "--port", str(port)]
    print(f"lab: http://{host}:{port} (Ctrl-C ends it)", flush=True)
    os.execv(sys.executable, [sys.executable, "-m", "mlflow", "ui", *where])


@app.command()
def doctor() -> None:
    """Check this machine: packages, plugins, devices, disk, runs."""
    from labrun.cli.doctor import examine
    from labrun.runs.run_dir import home

    findings = list(examine(home()))
    for finding in findings:
        print(f"{finding.level:<5} {finding.subject:<18} {finding.text}")
    if any(finding.level == "bad" for finding in findings):
        raise typer.Exit(EXIT_CONFIG)


@app.command()
def reindex(
    uri: Annotated[str, typer.Option(help="MLflow URI; empty: the sqlite store.")] = "",
) -> None:
    """Rebuild the results store from the run directories."""
    from labrun.config.credentials import masked, refuse_secret
    from labrun.results.store import Mirror, check_uri, say_damaged, take_over
    from labrun.results.store import reindex as stored
    from labrun.runs.run_dir import home
    from labrun.system.home import refuse_unwritable

    refuse_secret(uri, key="--uri")
    check_uri(uri)
    refuse_unwritable(home())
    if not uri:
        take_over(home() / "mlflow.db")
        say_damaged(home())
    mirror = Mirror(home(), uri)
    done = stored.reindex(mirror)
    for name, reason in done.left_out.items():
        print(f"lab: left out {name}: {reason}", file=sys.stderr)
    for name in done.removed:
        print(f"lab: removed from the store, its directory is gone: {name}")
    print(f"lab: {done.written} runs written to {masked(mirror.where)}")


def _planned(overrides: list[str], *, multirun: bool) -> "list[Experiment]":
    from labrun.config import experiments
    from labrun.launch import session

    if not multirun and experiments.is_sweep(overrides):
        raise LabError("a value with commas is a sweep: add -m (or quote it: key='a,b')")
    return session.plan(overrides, sweep=multirun)


def _after_submission(runs: "list[RunDir]", *, waited: bool) -> None:
    """The end of a command whose runs outlive it; of one that has followed them, the results."""
    from labrun.cli import reports as report
    from labrun.launch import session
    from labrun.results.store import catch_up
    from labrun.runs.run_dir import home

    if waited:
        report.finish(session.present(runs), home(), _console())
        return
    report.print_submitted(runs, _console())
    catch_up(home())


def _import_ahead(module: str) -> "Thread":
    """A thread that imports what is needed when the jobs, which start meanwhile, have ended."""
    import importlib
    from threading import Thread

    ahead = Thread(target=importlib.import_module, args=(module,), daemon=True)
    ahead.start()
    return ahead


def _console() -> "Console":
    from rich.console import Console

    return Console(highlight=False, markup=False)


if __name__ == "__main__":
    main()

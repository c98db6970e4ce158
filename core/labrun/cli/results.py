"""The commands that read runs and keep their store: runs, compare, ui, reindex."""

import sys
from typing import Annotated

import typer

from labrun.cli.options import Group, RunNames, console


def runs_default(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        runs_list()


def runs_list(group: Group = None) -> None:
    """List the runs, oldest first."""
    from labrun.cli import listing
    from labrun.results.store import catch_up
    from labrun.runs import run_index
    from labrun.runs.run_dir import home

    found = run_index.entries(home())
    listing.print_runs(run_index.in_group(group, found) if group else found, console())
    catch_up(home(), found)


def runs_show(name: Annotated[str, typer.Argument(help="A run id, or `last`.")]) -> None:
    """Show one run: its state, settings, scores and files."""
    from labrun.cli import listing
    from labrun.results.store import catch_up
    from labrun.runs import run_index
    from labrun.runs.run_dir import home

    shown = run_index.find(name, home())
    listing.print_run(shown, console())
    catch_up(home(), run_index.of([shown]))


def runs_register(
    run: Annotated[str, typer.Argument(help="A run id, or `last`.")],
    name: Annotated[str, typer.Argument(help="Name of the registered model in MLflow.")],
) -> None:
    """Register a run's trained model in MLflow, as the next version of this name."""
    from labrun.results.store import Mirror
    from labrun.results.store.registry import register
    from labrun.runs import run_index
    from labrun.runs.run_dir import home
    from labrun.system.home import refuse_unwritable

    refuse_unwritable(home())
    found = run_index.find(run, home())
    mirror = Mirror(home(), found.experiment().run.tracking.uri)
    version = register(found, name, mirror=mirror)
    already = "" if version.is_new else " already"
    number = version.number
    print(f"{found.id} is{already} version {number} of {name}: models:/{name}/{number}")


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
        runs, home(), console(), metrics=metric, smooth=smooth, baseline=baseline, out=folder
    )
    catch_up(home(), run_index.of(runs))


def ui(
    group: Group = None,
    port: Annotated[int, typer.Option(min=1, max=65535)] = 5000,
    host: Annotated[str, typer.Option(help="Loopback unless you say otherwise.")] = "127.0.0.1",
    browser: Annotated[bool, typer.Option(help="Open it in a browser, where there is one.")] = True,
) -> None:
    """Serve MLflow's dashboards of LABRUN_HOME (or ./runs), opened at the newest group's curves."""
    from labrun.cli import dashboard
    from labrun.results.store import (
        catch_up,
        ensure_sqlite,
        refuse_elsewhere,
        say_damaged,
    )
    from labrun.runs import run_index
    from labrun.runs.run_dir import home
    from labrun.system.home import refuse_unwritable

    refuse_unwritable(home())
    refuse_elsewhere(home() / "mlflow.db")
    found = run_index.entries(home())
    shown = run_index.in_group(group, found) if group else found
    say_damaged(home())
    ensure_sqlite(home() / "mlflow.db")
    catch_up(home(), found, seconds=5.0)
    page = dashboard.page(home(), shown)
    dashboard.serve(home(), page, host=host, port=port, browser=browser)


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

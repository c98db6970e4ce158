"""The commands that read runs and keep their store: compare, ui, reindex."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from labrun.cli.options import (
    Archived,
    Group,
    Groups,
    Interval,
    Methods,
    Metrics,
    Plugins,
    RunNames,
    Since,
    Smooth,
    Tags,
    console,
)
from labrun.errors import LabError, listed

if TYPE_CHECKING:
    from labrun.runs.selection import Selection


def compare(
    names: RunNames = None,
    plugin: Plugins = None,
    method: Methods = None,
    group: Groups = None,
    tag: Tags = None,
    since: Since = None,
    archived: Archived = False,
    metric: Metrics = None,
    smooth: Smooth = 5,
    baseline: Annotated[
        str | None,
        typer.Option(
            help="Arm against which the others are tested, seed by seed; it stands first."
        ),
    ] = None,
    out: Annotated[
        str | None, typer.Option("-o", "--out", help="Folder for the PNG and CSV.")
    ] = None,
    kind: Annotated[
        str, typer.Option("--format", help="text, md, latex, csv, json or marl-eval.")
    ] = "text",
    interval: Interval = "auto",
    score: Annotated[
        list[str] | None, typer.Option(help="Row of the table: METRIC or TASK/METRIC; repeatable.")
    ] = None,
    start: Annotated[
        bool, typer.Option(help="With the columns of the scores before training.")
    ] = True,
    lower: Annotated[
        list[str] | None, typer.Option(help="Score of which less is better; may be repeated.")
    ] = None,
    figure: Annotated[
        list[str] | None, typer.Option(help="Figure: PATH.png, .svg or .pdf; may be repeated.")
    ] = None,
    plot: Annotated[str, typer.Option(help="Of the figure: curves, pareto or profile.")] = "curves",
    cost: Annotated[
        str | None,
        typer.Option(help="What it stands over: steps, samples, seconds, or a series summed up."),
    ] = None,
    width: Annotated[
        str, typer.Option(help="Of the figure: page (6.8 inches) or column (3.3 inches).")
    ] = "page",
) -> None:
    """Table of scores with 95% intervals and paired tests, and a figure of the learning curves.

    Options that choose runs may be repeated and are combined: any of the plugins, and any of the
    methods, and so on.
    """
    from pathlib import Path

    from labrun.runs import ahead, run_index
    from labrun.runs.record import records
    from labrun.runs.run_dir import home
    from labrun.runs.selection import Wanted, selected, time_of

    began = time_of(since) if since else None
    wanted = Wanted(plugin or (), method or (), group or (), tag or (), began, archived)
    found = selected(names or [], wanted, home())
    runs = records(found.runs)
    with ahead.reading(runs) as elsewhere:
        from labrun.cli import reports as report
        from labrun.results.figures import style
        from labrun.results.report import Asked, Drawing, check_choices, show
        from labrun.results.store import catch_up

        check_choices(kind=kind, interval=interval, plot=plot, width=width)
        if elsewhere and (kind == "text" or figure):
            style.load()
    drawing = Drawing([Path(one) for one in figure or ()], plot, metric or (), smooth, cost, width)
    asked = Asked(baseline, interval, score or (), lower or (), drawing, has_start=start)
    if kind == "text":
        folder = Path(out) if out else None
        report.compare(runs, home(), console(), out=folder, asked=asked)
    else:
        print(show(runs, kind, console(stderr=True), asked=asked), end="")
    _say_left_out(found)
    catch_up(home(), run_index.of(runs))


def _say_left_out(found: "Selection") -> None:
    """What is not among the runs: archived ones, and those of which nobody knows."""
    if count := found.num_archived:
        of = "run is" if count == 1 else "runs are"
        print(f"lab: {count} archived {of} left out; --archived takes them in", file=sys.stderr)
    if found.unread:
        ids = listed(found.unread)
        text = f"left out, their spec.json cannot be read: {ids}; `lab doctor` says why"
        print(f"lab: {text}", file=sys.stderr)


def report(
    names: RunNames = None,
    plugin: Plugins = None,
    method: Methods = None,
    group: Groups = None,
    tag: Tags = None,
    since: Since = None,
    archived: Archived = False,
    baseline: Annotated[
        str | None, typer.Option(help="Arm against which the others are tested; it stands first.")
    ] = None,
    out: Annotated[
        str | None, typer.Option("-o", "--out", help="The file; not set: beside `lab compare`'s.")
    ] = None,
    question: Annotated[
        str | None, typer.Option(help="What the runs are to answer; not set: their note.")
    ] = None,
    interval: Interval = "auto",
    metric: Metrics = None,
    smooth: Smooth = 5,
    samples: Annotated[
        int, typer.Option(min=0, max=200, help="Problems that are shown with their answers.")
    ] = 12,
    suite: Annotated[
        str | None, typer.Option(help="The runs of this suite; RUNS are then its key=value words.")
    ] = None,
    scale: Annotated[
        str | None, typer.Option(help="Of the suite; its first one if not set.")
    ] = None,
    seeds: Annotated[str | None, typer.Option(help="Of the suite, such as 0,1,2.")] = None,
) -> None:
    """One HTML file of a group, a suite or chosen runs, to send to somebody: it loads nothing.

    It has the question, the scores with intervals, curves, samples side by side, the settings that
    differ, every run, where they come from, and the commands that make them again.
    """
    from pathlib import Path

    from labrun.results.page.contents import Wanted as Shown
    from labrun.results.page.making import Asked, make
    from labrun.results.store import catch_up
    from labrun.runs import run_index
    from labrun.runs.run_dir import home
    from labrun.runs.selection import Selection, Wanted, selected, time_of

    began = time_of(since) if since else None
    chosen = Wanted(plugin or (), method or (), group or (), tag or (), began, archived)
    asked = Asked(
        baseline=baseline,
        interval=interval,
        question=question or "",
        command=sys.argv[1:],
        wanted=Shown(metric or (), smooth, samples),
    )
    path = Path(out) if out else None
    if suite is not None:
        if chosen or archived:
            raise LabError("--suite says which runs; leave options that choose runs out")
        from labrun.suites import page, result

        held = result.result_of(suite, home(), scale=scale, seeds=seeds, typed=names or [])
        found = Selection(list(held.held.values()))
        path = page.make(held, home(), console(), asked=asked, path=path)
    elif scale is not None or seeds is not None:
        raise LabError("--scale and --seeds are of a suite; name it with --suite")
    else:
        found = selected(names or [], chosen, home())
        path = make(found.runs, home(), console(), asked=asked, path=path)
    print(f"report   {path}")
    _say_left_out(found)
    catch_up(home(), run_index.of(found.runs))


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

"""The commands that list runs and look after them: runs list, show, tag, note, rename, ..."""

import sys
from collections.abc import Callable, Sequence, Sized
from typing import TYPE_CHECKING, Annotated

import typer

from labrun.cli.options import Group, RunNames, console
from labrun.errors import LabError

if TYPE_CHECKING:
    from labrun.runs.filters import Selection
    from labrun.runs.run_dir import RunDir
    from labrun.runs.run_index import Entry

Filter = Annotated[
    str,
    typer.Option(
        "--filter", help="Words that must all hold: 'method=rlrt state=done test/accuracy>0.8'."
    ),
]
Sort = Annotated[str, typer.Option(help="Key to sort by; -KEY: from the greatest down.")]
All = Annotated[bool, typer.Option("--all", help="Archived runs, too.")]
OneRun = Annotated[str, typer.Argument(help="A run id, its beginning, a name, or `last`.")]
SHOWN_IDS = 10


def runs_default(
    context: typer.Context,
    group: Group = None,
    filter_: Filter = "",
    sort: Sort = "",
    everything: All = False,
) -> None:
    if context.invoked_subcommand is None:
        runs_list(group, filter_, sort, everything)
    elif group or filter_ or sort or everything:
        name = context.invoked_subcommand
        raise LabError(f"options of `lab runs {name}` stand behind `{name}`")


def runs_list(
    group: Group = None, filter_: Filter = "", sort: Sort = "", everything: All = False
) -> None:
    """List the runs, oldest first: lab runs --filter "state=done seed=0,1" --sort -test/accuracy"""
    from labrun.cli import listing
    from labrun.results.store import catch_up
    from labrun.runs import filters, run_index
    from labrun.runs.run_dir import home

    entries = run_index.entries(home())
    found = run_index.in_group(group, entries) if group else entries
    asked = everything or "archived" in [clause.key for clause in filters.parse(filter_)]
    shown = [entry for entry in found if asked or not entry.notes.archived]
    left = filters.select(shown, filter_, sort)
    columns = listing.asked_columns(left, filter_, sort)
    listing.print_runs(left.entries, console(), columns=columns, of=len(entries))
    listing.print_hidden(len(found) - len(shown), console())
    _say_unasked(left)
    catch_up(home(), entries)


def runs_show(name: OneRun) -> None:
    """Show one run: its state, settings, scores and files."""
    from labrun.cli import listing
    from labrun.results.store import catch_up
    from labrun.runs import run_index
    from labrun.runs.run_dir import home

    shown = run_index.find(name, home())
    listing.print_run(shown, console())
    catch_up(home(), run_index.of([shown]))


def runs_tag(
    words: Annotated[list[str], typer.Argument(help="Runs, then +TAG and -TAG.")],
    group: Group = None,
    filter_: Filter = "",
) -> None:
    """Add tags to runs and take tags away: lab runs tag last +good -bad"""
    from labrun.runs import notes

    changes = [word for word in words if word.startswith(("+", "-"))]
    if not changes:
        raise LabError("no tag named; write +TAG or -TAG behind the runs")
    tags = {sign: [notes.check_tag(w[1:]) for w in changes if w[0] == sign] for sign in "+-"}
    names = [word for word in words if word not in changes]
    for run in chosen(names, group, filter_):
        said = notes.tag(run.path, add=tags["+"], drop=tags["-"])
        print(f"{run.id}: {', '.join(said.tags) or 'no tags'}")


def runs_note(
    name: OneRun,
    text: Annotated[str | None, typer.Argument(help="The note; '' removes it.")] = None,
) -> None:
    """Write a note on a run in place of its last one; without TEXT print it."""
    from labrun.runs import notes, run_index
    from labrun.runs.run_dir import home

    run = run_index.find(name, home())
    if text is None:
        print(notes.read(run.path).note or f"{run.id} has no note")
        return
    notes.change(run.path, note=notes.check_note(text))
    print(f"{run.id}: {'note written' if text else 'note removed'}")


def runs_rename(
    name: OneRun,
    new: Annotated[str, typer.Argument(help="The display name; '' removes it.")],
) -> None:
    """Give a run a display name; its id stays, and both name it."""
    from labrun.runs import notes, run_index
    from labrun.runs.run_dir import home

    run = run_index.find(name, home())
    run_index.refuse_taken(notes.check_name(new), run, home())
    notes.change(run.path, name=new)
    print(f"{run.id}: {f'named {new}' if new else 'name removed'}")


def runs_archive(
    names: RunNames = None,
    group: Group = None,
    filter_: Filter = "",
    undo: Annotated[bool, typer.Option("--undo", help="Show them again.")] = False,
) -> None:
    """Hide runs from lists and comparisons; `lab runs --all` shows them."""
    from labrun.runs import notes

    runs = chosen(names or [], group, filter_, archived=undo)
    for run in runs:
        notes.change(run.path, archived=not undo)
    print(f"{_counted(runs)} {'shown again' if undo else 'archived'}: {_ids(runs)}")


def runs_delete(
    names: RunNames = None,
    group: Group = None,
    filter_: Filter = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete runs for good, from the results store too; never a queued or running one."""
    from labrun.launch import deleting

    runs = chosen(names or [], group, filter_, archived=True)
    deleting.refuse_under_way(runs)
    size = sum(map(deleting.size_of, runs)) / 2**20
    question = f"delete {_counted(runs)} for good, {size:.1f} MiB: {_ids(runs)}"
    if not yes and not _agreed(question):
        raise LabError("nothing was deleted")
    for fault in deleting.delete(runs):
        print(f"lab: {fault}", file=sys.stderr)
    print(f"deleted {_counted(runs)}: {_ids(runs)}")


def runs_export(
    names: RunNames = None,
    group: Group = None,
    filter_: Filter = "",
    out: Annotated[
        str, typer.Option("-o", "--out", help="File that ends in .csv or .parquet.")
    ] = "runs.csv",
    series: Annotated[
        bool, typer.Option("--series", help="Logged metrics by step, in place of one row a run.")
    ] = False,
    metric: Annotated[
        list[str] | None, typer.Option(help="With --series: only this one; may be repeated.")
    ] = None,
    everything: All = False,
) -> None:
    """Write runs with their settings and scores to a file; without words every run."""
    from pathlib import Path

    from labrun.results import frames
    from labrun.runs import run_index
    from labrun.runs.run_dir import home

    if metric and not series:
        raise LabError("--metric goes with --series")
    path = Path(out)
    frames.refuse_format(path)
    if names or group or filter_:
        entries = run_index.of(chosen(names or [], group, filter_, archived=everything))
    else:
        found = run_index.entries(home())
        entries = [entry for entry in found if everything or not entry.notes.archived]
    sound = _sound(entries)
    runs = [entry.run for entry in sound]
    frame = frames.series(runs, metric) if series else frames.runs(sound)
    frames.write(frame, path)
    print(f"{_counted(frame, 'row')} of {_counted(runs)} written to {path}")


def runs_diff(one: OneRun, other: OneRun) -> None:
    """What sets two runs apart: settings, provenance, scores."""
    from labrun.cli import listing
    from labrun.results.run_diff import diff
    from labrun.runs import run_index
    from labrun.runs.run_dir import home

    first, second = (run_index.find(name, home()) for name in (one, other))
    listing.print_diff(first, second, diff(first, second), console())


def chosen(
    names: Sequence[str], group: str | None, text: str, *, archived: bool = False
) -> "list[RunDir]":
    """The runs named, of the group, or all, as far as the filter holds of them; archived ones only
    where they are named, or with `archived`.

    Raises LabError where nothing says which are meant, or none is left.
    """
    from labrun.runs import filters, run_index
    from labrun.runs.run_dir import home

    if not names and group is None and not text:
        raise LabError("name the runs, `last`, --group NAME or --filter WORDS")
    if names:
        found = run_index.of([run_index.find(name, home()) for name in dict.fromkeys(names)])
    else:
        every = run_index.entries(home())
        found = run_index.in_group(group, every) if group else every
        found = [entry for entry in found if archived or not entry.notes.archived]
    selection = filters.select(found, text)
    _say_unasked(selection)
    runs = list({entry.id: entry.run for entry in selection.entries}.values())
    if not runs:
        raise LabError("no run is left by this filter; `lab runs` lists them all")
    return runs


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


def _say_unasked(selection: "Selection") -> None:
    for run_id, fault in selection.unasked.items():
        print(f"lab: left out {run_id}: {fault}", file=sys.stderr)


def _sound(entries: "Sequence[Entry]") -> "list[Entry]":
    """The runs whose spec, notes and events are whole; the others are named."""
    from labrun.runs import damage

    faults = {e.id: damage.first(e.run) or e.run.events_fault() for e in entries}
    for run_id, fault in faults.items():
        if fault:
            print(f"lab: left out, damaged: {run_id}: {fault}", file=sys.stderr)
    return [entry for entry in entries if not faults[entry.id]]


def _agreed(question: str, ask: Callable[[str], str] = input) -> bool:
    """Whether the user says yes. Raises LabError where nobody can be asked."""
    if not sys.stdin.isatty():
        raise LabError(f"{question}? say --yes, since nobody can be asked here")
    return ask(f"{question}? [y/N] ").strip().lower() in ("y", "yes")


def _counted(things: Sized, name: str = "run") -> str:
    return f"{len(things)} {name}{'s' if len(things) != 1 else ''}"


def _ids(runs: "Sequence[RunDir]") -> str:
    from labrun.errors import listed

    return listed((run.id for run in runs), most=SHOWN_IDS)

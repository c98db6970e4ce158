"""What the commands print of runs: the list of them, one of them, its warnings."""

import time
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from rich.console import Console

from labrun.config.credentials import masked
from labrun.errors import LabError, shown
from labrun.results import lineage
from labrun.results.run_diff import RunDiff
from labrun.runs import checkpoints, damage, filters, notes
from labrun.runs.facts import RunFacts
from labrun.runs.filters import Selection
from labrun.runs.run_dir import RunDir
from labrun.runs.run_index import Entry
from labrun.score import number_text

MINUTE = "%Y-%m-%d %H:%M"
ALWAYS = ("run", "state", "step", "group", "created")
SHOWN = ("id", "name", "tag", "archived", "parent", *ALWAYS)
"""Keys that every list shows by itself."""
Columns = Mapping[str, Sequence[str]]
"""Heading -> a text for each run."""
NO_COLUMNS: Columns = MappingProxyType({})


def print_runs(
    entries: Sequence[Entry], console: Console, *, columns: Columns = NO_COLUMNS, of: int = 0
) -> None:
    """One line a run; plain text, since a table of thousands of rows takes seconds to lay out.

    `of`: the number of all runs, of which these are a choice.
    """
    if not entries:
        none = f"none of the {of} runs is meant" if of else "no runs yet"
        console.print(f"{none}; `lab run plugin=...` makes one" if not of else none)
        return
    table = _columns(entries) | dict(columns)
    rows = zip(*([heading, *column] for heading, column in table.items()), strict=True)
    widths = [max(map(len, [heading, *column])) for heading, column in table.items()]
    lines = ("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
    print("\n".join(lines), file=console.file)  # rich takes half a second for as many lines
    for entry in entries:
        if entry.state in damage.DAMAGED or entry.group is None or entry.notes_fault:
            fault = damage.first(entry.run)
            console.print(f"damaged: {entry.id}: {fault}", style="yellow", soft_wrap=True)


def _columns(entries: Sequence[Entry]) -> dict[str, list[str]]:
    """What every list shows; names and tags where a run has one."""
    columns = {
        "run": [entry.id for entry in entries],
        "state": [e.state if e.group is not None else "unreadable" for e in entries],
        "step": [str(entry.step) for entry in entries],
        "group": [shown(entry.group or "") for entry in entries],
        "created": [time.strftime(MINUTE, time.localtime(e.created)) for e in entries],
        "name": [shown(entry.notes.name) for entry in entries],
        "parent": [str(entry.facts.get("parent", "")) for entry in entries],
        "tags": [shown(",".join(entry.notes.tags)) for entry in entries],
        "archived": ["archived" if entry.notes.archived else "" for entry in entries],
    }
    return {key: texts for key, texts in columns.items() if key in ALWAYS or any(texts)}


def asked_columns(chosen: Selection, text: str, sort: str) -> dict[str, list[str]]:
    """The keys that a filter or an order asks for and no list shows by itself."""
    keys = [clause.key for clause in filters.parse(text)] + [sort.removeprefix("-")]
    asked = [key for key in dict.fromkeys(keys) if key and key not in SHOWN]
    return {key: [_values(run, key) for run in chosen.runs] for key in asked}


def _values(run: RunFacts, key: str) -> str:
    try:
        values = run.values(key)
    except LabError:
        return "?"
    return ",".join(f"{v:.4g}" if isinstance(v, float) else shown(str(v)) for v in values)


def print_hidden(num: int, console: Console) -> None:
    """Say how many archived runs a list leaves out."""
    if num:
        console.print(f"{num} archived run{'s are' if num > 1 else ' is'} hidden; --all shows all")


def print_run(run: RunDir, console: Console) -> None:
    from labrun.config.words import command_line

    status, experiment = run.status(), run.experiment()
    is_unsealed = status.state == "done" and status.sealed is None
    words = [run.id, status.state, "unsealed" if is_unsealed else "", status.message]
    console.print("  ".join(filter(None, words)), soft_wrap=True)
    if experiment.parent:
        console.print(lineage.line(experiment.parent), soft_wrap=True)
    _print_notes(run, console)
    console.print(f"lab run {masked(command_line(experiment.overrides))}", soft_wrap=True)
    for word in experiment.defaults:
        console.print(f"your default: {masked(word)}", soft_wrap=True)
    faults = damage.faults(run, deep=True)
    for fault in faults:
        console.print(f"  damaged: {fault}", style="yellow", soft_wrap=True)
    if run.events_fault() is None:
        _print_events(run, console)
    _print_files(run, console)


def _print_notes(run: RunDir, console: Console) -> None:
    """What the user said of the run."""
    said = notes.known(run.path)
    lines = {"name": said.name, "tags": ", ".join(said.tags), "note": said.note}
    lines["archived"] = "hidden from lists and comparisons" if said.archived else ""
    for key, text in lines.items():
        if text:
            console.print(f"{key}: {shown(text, limit=10_000)}", soft_wrap=True)


def _print_events(run: RunDir, console: Console) -> None:
    for (task, metric), steps in run.scores().items():
        last = ((step, number_text(steps[step].value)) for step in sorted(steps))
        values = "  ".join(f"step {step}: {text}" for step, text in last)
        console.print(f"  {task}/{metric}  {values}", soft_wrap=True)
    for name, values in run.series().items():
        console.print(f"  {name}  last {values[max(values)]:.4g} at step {max(values)}")
    for note in _notes(run, warning=False):
        console.print(f"  note: {note}", soft_wrap=True)
    for warning in _notes(run, warning=True):
        console.print(f"  warning: {warning}", style="yellow", soft_wrap=True)


def _print_files(run: RunDir, console: Console) -> None:
    """The checkpoints and artifacts; none where a file lies in their folder's place."""
    folders = checkpoints.folders(run.checkpoints) if run.checkpoints.is_dir() else []
    kept = [path.name for path in folders]
    console.print(f"  checkpoints: {', '.join(kept) or 'none'}")
    files = [str(p.relative_to(run.path)) for p in sorted(run.artifacts.rglob("*")) if p.is_file()]
    console.print(f"  files in {run.path}: {', '.join(files) or 'none'}", soft_wrap=True)


def print_diff(one: RunDir, other: RunDir, found: RunDiff, console: Console) -> None:
    """The two runs, and of each part one line a key: both values, of scores also the change."""
    console.print(f"A  {one.id}\nB  {other.id}", soft_wrap=True)
    for title, pairs in (("settings", found.settings), ("provenance", found.provenance)):
        rows = [(key, _text(mine), _text(theirs)) for key, (mine, theirs) in pairs.items()]
        _print_part(title, ("", "A", "B"), rows, console)
    scores = [
        (key, _text(mine), _text(theirs), _change(mine, theirs))
        for key, (mine, theirs) in found.scores.items()
    ]
    _print_part("scores", ("", "A", "B", "B - A"), scores, console)


def _print_part(
    title: str, head: Sequence[str], rows: Sequence[Sequence[str]], console: Console
) -> None:
    if not rows:
        console.print(f"{title}: {'none' if title == 'scores' else 'no difference'}")
        return
    table = [(title, *head[1:]), *(("  " + row[0], *row[1:]) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        console.print("  ".join(map(str.ljust, row, widths)).rstrip(), soft_wrap=True)


def _text(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else shown(str(value), limit=60)


def _change(mine: object, theirs: object) -> str:
    if isinstance(mine, float | int) and isinstance(theirs, float | int):
        return f"{theirs - mine:+.4g}"
    return ""


def print_warnings(run: RunDir, console: Console) -> None:
    """What the run's components warned of, each once."""
    for message in _notes(run, warning=True):
        console.print(f"warning  {run.id}: {message}", style="yellow", soft_wrap=True)


def _notes(run: RunDir, *, warning: bool) -> list[str]:
    """The run's notes, or its warnings, each once."""
    events = run.events(check=False)
    notes = [event for event in events if event["kind"] == "note" and "message" in event]
    chosen = [note["message"] for note in notes if bool(note.get("warning")) == warning]
    return list(dict.fromkeys(map(str, chosen)))

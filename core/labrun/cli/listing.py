"""What the commands print of runs: the list of them, one of them, its warnings."""

import time
from collections.abc import Sequence

from rich.console import Console

from labrun.config.credentials import masked
from labrun.errors import shown
from labrun.runs import checkpoints, damage
from labrun.runs.run_dir import RunDir
from labrun.runs.run_index import Entry


def print_runs(entries: Sequence[Entry], console: Console) -> None:
    """One line a run; plain text, since a table of thousands of rows takes seconds to lay out."""
    if not entries:
        console.print("no runs yet; `lab run plugin=...` makes one")
        return
    rows = [("run", "state", "step", "group", "created")]
    for entry in entries:
        created = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.created))
        state = entry.state if entry.group is not None else "unreadable"
        rows.append((entry.id, state, str(entry.step), shown(entry.group or ""), created))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
    print("\n".join(lines), file=console.file)  # rich takes half a second for as many lines
    for entry in entries:
        if entry.state in damage.DAMAGED or entry.group is None:
            fault = damage.first(entry.run)
            console.print(f"damaged: {entry.id}: {fault}", style="yellow", soft_wrap=True)


def print_run(run: RunDir, console: Console) -> None:
    from labrun.config.words import command_line

    status, experiment = run.status(), run.experiment()
    is_unsealed = status.state == "done" and status.sealed is None
    words = [run.id, status.state, "unsealed" if is_unsealed else "", status.message]
    console.print("  ".join(filter(None, words)), soft_wrap=True)
    console.print(f"lab run {masked(command_line(experiment.overrides))}", soft_wrap=True)
    faults = damage.faults(run, deep=True)
    for fault in faults:
        console.print(f"  damaged: {fault}", style="yellow", soft_wrap=True)
    if run.events_fault() is None:
        _print_events(run, console)
    _print_files(run, console)


def _print_events(run: RunDir, console: Console) -> None:
    for (task, metric), steps in run.scores().items():
        values = "  ".join(f"step {step}: {steps[step].value:.3f}" for step in sorted(steps))
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

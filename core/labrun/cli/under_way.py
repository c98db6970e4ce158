"""What `lab status` prints: the runs that have not ended, and how many have."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from labrun.errors import shown
from labrun.launch import following
from labrun.launch.launchers import Word
from labrun.runs import run_index, submission
from labrun.runs.run_dir import PROGRESS, RunDir, Status
from labrun.runs.run_index import Entry
from labrun.runs.signs import mark_of

UNDER_WAY = ("queued", "running")
NONE_YET = "no runs yet; `lab run plugin=...` makes one"
HEAD = ("run", "state", "stage", "step", "since", "devices", "by", "last sign", "eta")
ORDER = ("done", "failed", "diverged", "hung", "killed", "refused", "preempted")
WRONG = ("failed", "diverged", "hung", "killed", "refused")
MOST_WRONG = 10
UNITS = ((86400, "d"), (3600, "h"), (60, "min"))
PAUSE_S = 2.0
"""Seconds between two looks of `lab status -f` on a terminal."""
LONG_PAUSE_S = 10.0
"""Where the output is no terminal."""


def show(home: Path, group: str | None, console: Console, *, follow: bool) -> list[Entry]:
    """Print the runs under way; with `follow` again and again, until none is. Returns the entries
    of all runs, as they were last."""
    while True:
        entries = run_index.entries(home)
        # a job may live on although its process seems gone: its scheduler knows
        words = following.words_of((entry.run, entry.recorded.state) for entry in entries)
        entries = run_index.refreshed(entries, words)
        chosen = run_index.in_group(group, entries) if group else entries
        if follow:
            console.clear()
        print_status(chosen, console, words, is_group=group is not None)
        if not follow or not any(_is_open(entry, words) for entry in chosen):
            return entries
        time.sleep(PAUSE_S if console.is_terminal else LONG_PAUSE_S)


def print_status(
    entries: Sequence[Entry],
    console: Console,
    words: Mapping[str, Word] | None = None,
    *,
    is_group: bool = False,
) -> None:
    """One line a run that has not ended, then one line with the number of the others by state.

    `words`: what schedulers say of runs. Of a group also what went wrong is told.
    """
    words = words or {}
    if not entries:
        console.print(NONE_YET)
        return
    rows = [_row(entry, words.get(entry.id)) for entry in entries if _is_open(entry, words)]
    if rows:
        widths = [max(map(len, column)) for column in zip(HEAD, *rows, strict=True)]
        lines = ("  ".join(map(str.ljust, row, widths)).rstrip() for row in (HEAD, *rows))
        print("\n".join(lines), file=console.file)  # rich takes long for thousands of lines
    for reason in dict.fromkeys(word.reason for word in words.values() if word.state == "unknown"):
        console.print(f"no word of the scheduler: {reason}", soft_wrap=True)
    if is_group:
        _print_wrong(entries, console)
    states = Counter(_state(entry, words) for entry in entries)
    before = "" if rows else "no run is under way; "
    after = f"; under way: {_counts(states, UNDER_WAY)}" if rows and is_group else ""
    ended = [state for state in (*ORDER, *sorted(states)) if state not in UNDER_WAY]
    console.print(f"{before}ended: {_counts(states, dict.fromkeys(ended))}{after}", soft_wrap=True)


def _counts(states: Mapping[str, int], names: Any) -> str:
    return ", ".join(f"{states[name]} {name}" for name in names if states.get(name)) or "none"


def _is_open(entry: Entry, words: Mapping[str, Word]) -> bool:
    return _state(entry, words) in UNDER_WAY


def _state(entry: Entry, words: Mapping[str, Word]) -> str:
    """The run's state; where its job lives on with a scheduler, that."""
    word = words.get(entry.id)
    if word is None or word.state not in ("waiting", "running") or entry.state == "running":
        return entry.state
    return "queued" if word.state == "waiting" or entry.state == "queued" else "running"


def _print_wrong(entries: Sequence[Entry], console: Console) -> None:
    wrong = [entry for entry in entries if entry.state in WRONG]
    for entry in wrong[:MOST_WRONG]:
        said = entry.run.status().message
        console.print(f"{entry.state}: {entry.id}: {shown(said)}", soft_wrap=True)
    if len(wrong) > MOST_WRONG:
        console.print(f"and {len(wrong) - MOST_WRONG} more", soft_wrap=True)


def _row(entry: Entry, word: Word | None) -> tuple[str, ...]:
    run, status = entry.run, entry.recorded.status()
    if entry.state != "running":
        since = entry.signs[1] / 1e9
        by = _by(run, status, word)
        return (run.id, "queued", "-", str(entry.step), _at(since), "-", by, "-", "-")
    said = _said(run, status)
    step, total = said.get("step", entry.step), said.get("total")
    left = run.seconds_left() if said else None
    return (
        run.id,
        "stopping" if said.get("stopping") else "running",
        said.get("stage", "start"),
        str(step) if total is None else f"{step}/{total}",
        _at(status.started or entry.created),
        ", ".join(f"gpu{name}" if name.isdigit() else name for name in status.devices) or "cpu",
        _by(run, status, word),
        f"{_length(time.time() - run.last_sign())} ago",
        "-" if left is None else _length(left),
    )


def _said(run: RunDir, status: Status) -> dict[str, Any]:
    """What this attempt said of itself; nothing of what an earlier one did."""
    changed_s = mark_of(run.path / PROGRESS)[2] / 1e9
    return run.progress() if changed_s >= (status.started or 0.0) else {}


def _by(run: RunDir, status: Status, word: Word | None) -> str:
    """Who has the run: its worker's process, the command or the job that will start it."""
    job = submission.read(run.path)
    if job is not None and job.is_of_cluster:
        running = status.state == "running"
        where = f" on {(word and word.where) or status.host}" if running else ""
        why = f" ({word.reason})" if word and word.reason and not running else ""
        return f"{job}{where}{why}"
    pid = status.process.partition("@")[0] or (status.pid if status.state == "running" else None)
    return f"pid {pid} on {status.host}" if pid else "-"


def _at(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def _length(seconds: float) -> str:
    """A length of time in its largest unit.

    >>> [_length(s) for s in (-1.0, 12.9, 119.0, 7200.0, 200_000.0)]
    ['0 s', '12 s', '1 min', '2 h', '2 d']
    """
    for size, unit in UNITS:
        if seconds >= size:
            return f"{seconds // size:.0f} {unit}"
    return f"{max(seconds, 0.0) // 1:.0f} s"

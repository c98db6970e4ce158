"""What `lab status` prints: the runs that have not ended, and how many have."""

import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from rich.console import Console

from labrun.runs.run_dir import PROGRESS, RunDir, Status
from labrun.runs.run_index import Entry
from labrun.runs.signs import mark_of

UNDER_WAY = ("queued", "running")
NONE_YET = "no runs yet; `lab run plugin=...` makes one"
HEAD = ("run", "state", "stage", "step", "since", "devices", "by", "last sign")
ORDER = ("done", "failed", "diverged", "hung", "killed", "refused", "preempted")
UNITS = ((86400, "d"), (3600, "h"), (60, "min"))


def print_status(entries: Sequence[Entry], console: Console) -> None:
    """One line a run that has not ended, then one line with the number of the others by state."""
    if not entries:
        console.print(NONE_YET)
        return
    rows = [_row(entry) for entry in entries if entry.state in UNDER_WAY]
    if rows:
        widths = [max(map(len, column)) for column in zip(HEAD, *rows, strict=True)]
        lines = ("  ".join(map(str.ljust, row, widths)).rstrip() for row in (HEAD, *rows))
        console.out("\n".join(lines), highlight=False)
    ended = Counter(entry.state for entry in entries if entry.state not in UNDER_WAY)
    states = (*ORDER, *sorted(ended.keys() - set(ORDER)))
    counts = ", ".join(f"{ended[state]} {state}" for state in states if ended[state]) or "none"
    before = "" if rows else "no run is under way; "
    console.print(f"{before}ended: {counts}", soft_wrap=True)


def _row(entry: Entry) -> tuple[str, ...]:
    run, status = entry.run, entry.run.recorded_status()
    if entry.state == "queued":
        since = mark_of(run.path / "status.json")[2] / 1e9
        return (run.id, "queued", "-", str(entry.step), _at(since), "-", _by(status), "-")
    said = _said(run, status)
    step, total = said.get("step", entry.step), said.get("total")
    return (
        run.id,
        "stopping" if said.get("stopping") else "running",
        said.get("stage", "start"),
        str(step) if total is None else f"{step}/{total}",
        _at(status.started or entry.created),
        ", ".join(f"gpu{name}" if name.isdigit() else name for name in status.devices) or "cpu",
        _by(status),
        f"{_length(time.time() - run.last_sign())} ago",
    )


def _said(run: RunDir, status: Status) -> dict[str, Any]:
    """What this attempt said of itself; nothing of what an earlier one did."""
    changed_s = mark_of(run.path / PROGRESS)[2] / 1e9
    return run.progress() if changed_s >= (status.started or 0.0) else {}


def _by(status: Status) -> str:
    """The process that has the run: its worker, or the command that will start it."""
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

"""What a run's files say of its life, read without the rest of the run."""

import json
import os
from pathlib import Path

from labrun.system import regular_files

EVENTS = "events.jsonl"
PROGRESS = "progress.json"
BEAT = ".beat"
"""Touched by every rank but the first, which writes the progress."""
TAIL_BYTES = 65536
Mark = tuple[int, int, int]


def signs(run: Path) -> tuple[Mark, ...]:
    """What changes whenever the run writes an event or its progress: compare two of them.

    They hold no time of this process's clock, so that no step of a clock changes what they say.
    """
    return tuple(mark_of(f"{run}/{name}") for name in (EVENTS, PROGRESS))


def mark_of(path: Path | str) -> Mark:
    """The file's inode, size and time of change; zeros where there is none."""
    try:
        stat = os.stat(path)
    except OSError:
        return 0, 0, 0
    return stat.st_ino, stat.st_size, stat.st_mtime_ns


def last_step(run: Path) -> int:
    """The last optimizer step that the run logged, by the end of its events; 0 before the first."""
    try:
        with regular_files.opened(run / EVENTS) as events:
            events.seek(0, os.SEEK_END)
            events.seek(max(0, events.tell() - TAIL_BYTES))
            lines = events.read().splitlines()
    except OSError:
        return 0
    for line in reversed(lines):
        step = _step(line)
        if step is not None:
            return step
    return 0


def _step(line: bytes) -> int | None:
    try:
        event = json.loads(line)
        step = event["resumed_from"] or 0 if event["kind"] == "attempt" else event["step"]
    except (ValueError, RecursionError, KeyError, TypeError):
        return None
    return step if isinstance(step, int) else None

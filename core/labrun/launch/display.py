"""What the user sees while runs go: a live table on a terminal, plain lines elsewhere."""

import os
import sys
import time
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from labrun.plugins import discovery as plugins
from labrun.runs.run_dir import ENDED, RunDir, Status, parse_event
from labrun.runs.signs import Mark, mark_of
from labrun.score import number_text
from labrun.system import regular_files

TICK_S = 0.5
DRAWN_PER_S = 2
"""How often a terminal is drawn: no oftener than the runs are looked at."""
MOST_LOOKS = 50
"""Runs at rest, waiting or ended, that are looked at in one tick; the others have their turn."""
MOST_ENDED = 20
"""Bars of ended runs that stay, the newest."""


class Display:
    """Call `tick` often; it reads the run directories and shows stage, step, headline and eta.

    A run that waits costs a look at one file now and then. One that cannot be read is named once
    and left out.
    """

    def __init__(self, runs: Sequence[RunDir], console: Console, *, line_period_s: float = 10.0):
        self._shown = [_Shown(run) for run in runs]
        self._last = -TICK_S
        self._turn = 0
        self._view = _Bars(console) if console.is_terminal else _Lines(console, line_period_s)

    def tick(self) -> None:
        if time.monotonic() - self._last >= TICK_S:
            self._last = time.monotonic()
            self._show(self._in_turn())

    def _in_turn(self) -> list["_Shown"]:
        """The runs that go on, and of those at rest the next few."""
        resting = [shown for shown in self._shown if shown.at_rest]
        first = self._turn % max(1, len(resting))
        looks = (resting[first:] + resting[:first])[:MOST_LOOKS]
        self._turn = first + len(looks)
        going = [shown for shown in self._shown if not shown.at_rest]
        return going + looks

    def _show(self, runs: Sequence["_Shown"]) -> None:
        for shown in runs:
            try:
                if (now := shown.look()) is not None:
                    self._view.show(now)
            except Exception as error:  # one run's files are one run's trouble
                self._leave_out(shown, f"{type(error).__name__}: {error}")
            if shown.is_gone():
                self._leave_out(shown, "its directory was removed")

    def _leave_out(self, shown: "_Shown", why: str) -> None:
        if shown in self._shown:
            self._shown.remove(shown)
            print(f"lab: run {shown.run.id} is shown no more: {why}", file=sys.stderr)

    def close(self) -> None:
        try:
            self._show(list(self._shown))
        finally:
            self._view.close()


class _Snapshot:
    """Where one run stands."""

    def __init__(self, run: RunDir, status: Status, beat: dict[str, Any], headline: str):
        self.run, self.status, self.headline = run, status, headline
        self.step, self.total = beat.get("step", status.step), beat.get("total")
        running = status.state == "running"
        self.stage = beat.get("stage", status.state) if running else status.state


class _Shown:
    """A run of the display; it is read only while it runs or when its status is new."""

    def __init__(self, run: RunDir) -> None:
        self.run = run
        self._status_file = f"{run.path}/status.json"
        self._status_mark: Mark | None = None
        self.at_rest = False
        self._tail: _Tail | None = None

    def look(self) -> _Snapshot | None:
        """Where the run stands; None where nothing has begun, or nothing changed since its end."""
        mark = mark_of(self._status_file)
        if self.at_rest and mark == self._status_mark:
            return None
        status = self.run.status()
        self._status_mark, self.at_rest = mark, status.state == "queued" or status.state in ENDED
        if status.state == "queued" and self._tail is None:
            return None
        self._tail = self._tail or _Tail(self.run)
        return self._tail.read(status)

    def is_gone(self) -> bool:
        """Whether the run's directory was removed."""
        return not os.path.exists(self._status_file) and not self.run.path.exists()


class _Tail:
    """Reads what is new in a run's directory."""

    def __init__(self, run: RunDir) -> None:
        self._run = run
        self._offset = 0
        self._headline = ""
        self._names = plugins.load(run.experiment().plugin).headline

    def read(self, status: Status) -> _Snapshot:
        path = self._run.path / "events.jsonl"
        if path.exists():
            with regular_files.opened(path) as lines:
                lines.seek(self._offset)
                for line in lines:
                    if not line.endswith(b"\n"):
                        break
                    self._offset += len(line)
                    if event := parse_event(line):
                        self._note(event)
        return _Snapshot(self._run, status, self._run.progress(), self._headline)

    def _note(self, event: dict[str, Any]) -> None:
        if event["kind"] == "metrics":
            for name in self._names:
                if name in event["metrics"]:
                    self._headline = f"{name} {number_text(event['metrics'][name])}"
                    break


class _Bars:
    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            TextColumn("{task.fields[stage]:<10}"),
            BarColumn(bar_width=24),
            TextColumn("{task.completed:.0f}/{task.fields[of]}"),
            TextColumn("{task.fields[headline]}"),
            TimeElapsedColumn(),
            TextColumn("eta"),
            TimeRemainingColumn(),
            console=console,
            refresh_per_second=DRAWN_PER_S,
        )
        self._tasks: dict[str, TaskID] = {}
        self._ended: dict[str, None] = {}
        self._progress.start()

    def show(self, now: _Snapshot) -> None:
        if now.run.id not in self._tasks:
            self._tasks[now.run.id] = self._progress.add_task(
                now.run.id, total=None, stage="queued", headline="", of="?"
            )
        self._progress.update(
            self._tasks[now.run.id],
            completed=now.step,
            total=now.total,
            of=now.total if now.total is not None else "?",
            stage=now.stage,
            headline=now.headline,
        )

        if now.status.state in ENDED:
            self._ended[now.run.id] = None
        while len(self._ended) > MOST_ENDED:
            oldest = next(iter(self._ended))
            del self._ended[oldest]
            self._progress.remove_task(self._tasks.pop(oldest))

    def close(self) -> None:
        self._progress.stop()


class _Lines:
    def __init__(self, console: Console, period_s: float) -> None:
        self._console, self._period_s = console, period_s
        self._said: dict[str, tuple[float, str, int]] = {}
        self._began = time.monotonic()
        self._first: dict[str, tuple[float, int, int]] = {}

    def show(self, now: _Snapshot) -> None:
        said_at, stage, step = self._said.get(now.run.id, (-1e9, "", -1))
        clock = time.monotonic()
        ended = now.status.state in ENDED
        if now.stage == stage and (ended or now.step == step):
            return
        if not ended and clock - said_at < self._period_s:
            return
        self._said[now.run.id] = (clock, now.stage, now.step)
        of = f"/{now.total}" if now.total is not None else ""
        eta = self._eta(now, clock)
        parts = [f"{clock - self._began:6.0f}s", now.run.id, now.stage, f"step {now.step}{of}"]
        self._console.print("  ".join(p for p in [*parts, now.headline, eta] if p), soft_wrap=True)

    def _eta(self, now: _Snapshot, clock: float) -> str:
        if not now.total or not 0 < now.step < now.total:
            return ""
        began, first, total = self._first.get(now.run.id, (clock, now.step, now.total))
        if now.step < first or now.total != total:  # another stage counts anew
            began, first = clock, now.step
        self._first[now.run.id] = (began, first, now.total)
        if now.step == first:
            return ""
        return f"eta {(clock - began) * (now.total - now.step) / (now.step - first):.0f}s"

    def close(self) -> None:
        return

"""What the user sees while runs go: a live table on a terminal, plain lines elsewhere."""

import json
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

from labrun import plugins
from labrun.run_dir import ENDED, PROGRESS, RunDir, Status, parse_event

TICK_S = 0.5


class Display:
    """Call `tick` often; it reads the run directories and shows stage, step, headline and eta."""

    def __init__(self, runs: Sequence[RunDir], console: Console, *, line_period_s: float = 10.0):
        self._tails = {run.id: _Tail(run) for run in runs}
        self._console = console
        self._last = -TICK_S
        self._view = _Bars(console) if console.is_terminal else _Lines(console, line_period_s)

    def tick(self) -> None:
        if time.monotonic() - self._last >= TICK_S:
            self.flush()

    def flush(self) -> None:
        self._last = time.monotonic()
        for tail in self._tails.values():
            self._view.show(tail.read())

    def close(self) -> None:
        self._view.close()


class _Snapshot:
    """Where one run stands."""

    def __init__(self, run: RunDir, status: Status, beat: dict[str, Any], headline: str):
        self.run, self.status, self.headline = run, status, headline
        self.step, self.total = beat.get("step", status.step), beat.get("total")
        running = status.state == "running"
        self.stage = beat.get("stage", status.state) if running else status.state


class _Tail:
    """Reads what is new in a run's directory."""

    def __init__(self, run: RunDir) -> None:
        self._run = run
        self._offset = 0
        self._headline = ""
        self._names = plugins.load(run.experiment().plugin).headline

    def read(self) -> _Snapshot:
        path = self._run.path / "events.jsonl"
        if path.exists():
            with open(path, "rb") as lines:
                lines.seek(self._offset)
                for line in lines:
                    if not line.endswith(b"\n"):
                        break
                    self._offset += len(line)
                    if event := parse_event(line):
                        self._note(event)
        return _Snapshot(self._run, self._run.status(), _beat(self._run), self._headline)

    def _note(self, event: dict[str, Any]) -> None:
        if event["kind"] == "metrics":
            for name in self._names:
                if name in event["metrics"]:
                    self._headline = f"{name} {event['metrics'][name]:.3f}"
                    break


def _beat(run: RunDir) -> dict[str, Any]:
    try:
        return json.loads((run.path / PROGRESS).read_text())
    except (FileNotFoundError, ValueError):
        return {}


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
        )
        self._tasks: dict[str, TaskID] = {}
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

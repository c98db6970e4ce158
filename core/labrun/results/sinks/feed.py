"""One run's events on their way to one sink, each once."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from labrun.runs.events import RESTART, holding, parse_event
from labrun.runs.run_dir import EVENTS, RunDir
from labrun.system import regular_files


@dataclass(frozen=True)
class Point:
    """A metric, or a score as TASK/METRIC, at an optimizer step; `time` in seconds since the
    epoch."""

    name: str
    step: int
    value: float
    time: float


class Sink(Protocol):
    """A place that gets a run's points. It is opened with the run, and opened anew where the run
    went back to an earlier step: what it had then counts no more.

    Whatever it raises ends it and no run.
    """

    def write(self, points: Iterable[Point]) -> None:
        """Take these points and bring them to their place before it returns."""
        ...

    def close(self, state: str) -> None:
        """The command has ended, and the run is in this state."""
        ...


class Feed:
    """Hands a run's events to its sink; all that hold at first, then what is new."""

    def __init__(self, run: RunDir, name: str, opens: Callable[[RunDir], Sink]) -> None:
        self.run, self.name = run, name
        self._opens = opens
        self._sink: Sink | None = None
        self._offset = 0

    def write(self) -> None:
        """Hand on what is new; all anew where an attempt began, or the file was cut."""
        path = self.run.path / EVENTS
        if not path.exists():
            return
        if path.stat().st_size < self._offset:
            self._offset = 0
        begins = self._offset == 0
        events = self._read()
        if begins or any(event["kind"] in ("attempt", RESTART) for event in events):
            self._offset = 0
            events = holding(self._read())
            if self._sink is not None:
                self._sink.close(self.run.status().state)
            self._sink = self._opens(self.run)
        assert self._sink is not None
        self._sink.write(point for event in events for point in points_of(event))

    def close(self) -> None:
        if self._sink is not None:
            self._sink.close(self.run.status().state)

    def _read(self) -> list[dict[str, Any]]:
        """The events behind the last ones that were read, without a line that is cut off."""
        events = []
        with regular_files.opened(self.run.path / EVENTS) as lines:
            lines.seek(self._offset)
            for line in lines:
                if not line.endswith(b"\n"):
                    break
                self._offset += len(line)
                if (event := parse_event(line)) is not None:
                    events.append(event)
        return events


def points_of(event: Mapping[str, Any]) -> list[Point]:
    """The points of an event; none of one that holds no number."""
    if event["kind"] == "metrics":
        step, time = event["step"], event["time"]
        return [Point(name, step, value, time) for name, value in event["metrics"].items()]
    if event["kind"] == "score":
        score = event["score"]
        name = f"{score['task']}/{score['metric']}"
        return [Point(name, event["step"], score["value"], event["time"])]
    return []

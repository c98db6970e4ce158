"""A run's events as what a results store holds of them, read on from where the last look ended."""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from labrun.errors import shown
from labrun.results.store.marks import Mark
from labrun.results.store.names import (
    name_tags,
    score_name,
    series_name,
    stored_name,
    stored_value,
)
from labrun.runs.events import RESTART, parse_event
from labrun.runs.run_dir import RunDir
from labrun.system import regular_files

INFINITE_TAG = "labrun.infinite."
SHOWN = 20
"""Number of steps with an infinite value that a metric's tag lists."""
LINES = 5000
"""Lines of events.jsonl that are held at once."""
TAIL = 64

Point = tuple[float, int]
"""Value, and milliseconds since the epoch."""


@dataclass
class Batch:
    """What stands in some lines: the points that hold, and from which step on earlier ones do not.

    MLflow would store an infinite value as 1.8e308. It is stored as nan, and the tag
    `labrun.infinite.<metric>` says at which steps it was `inf` or `-inf`.
    """

    mark: Mark
    points: dict[tuple[str, int], Point] = field(default_factory=dict)
    """(metric's name in the store, step) -> the last value of that step."""
    names: set[str] = field(default_factory=set)
    keep_until: float = math.inf
    """Points of earlier batches behind this step were replayed; -inf drops them all."""

    def tags(self) -> dict[str, str]:
        """The tags without which the points cannot be read back; an empty one is to be removed."""
        return name_tags(self.names) | _infinite_tags(self.mark.infinite)


def batches(run: RunDir, mark: Mark) -> Iterator[Batch]:
    """The events behind the mark, in their order; at least one batch.

    Raises ValueError where an event holds what is no number, or a step that MLflow does not take.
    """
    path = run.path / "events.jsonl"
    if not path.exists():
        yield Batch(mark)
        return
    with regular_files.opened(path) as file:
        file.seek(mark.offset)
        while True:
            batch, num_lines = _batch(file, mark)
            mark = batch.mark
            yield batch
            if num_lines < LINES:
                return


def _batch(file: Any, mark: Mark) -> tuple[Batch, int]:
    batch, offset, tail, num_lines = Batch(mark), mark.offset, mark.tail, 0
    while num_lines < LINES and (line := file.readline()):
        event = parse_event(line)
        if event is None and not line.endswith(b"\n"):
            break  # still being written, or cut off
        num_lines, offset, tail = num_lines + 1, offset + len(line), line[-TAIL:].hex()
        if event is None:
            _refuse_values(line)
        else:
            _take(event, batch)
    batch.mark = replace(batch.mark, offset=offset, tail=tail)
    return batch, num_lines


def continues(run: RunDir, mark: Mark) -> bool:
    """Whether events.jsonl still holds before the mark what it held when it was copied."""
    if not mark.offset:
        return True
    tail = bytes.fromhex(mark.tail)
    try:
        with regular_files.opened(run.path / "events.jsonl") as file:
            file.seek(mark.offset - len(tail))
            return file.read(len(tail)) == tail
    except FileNotFoundError:
        return False


def _refuse_values(line: bytes) -> None:
    """Raise ValueError where the line is whole and holds points that no store takes.

    Any other damaged line, such as one that a crash cut off, is passed over.
    """
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return
    if isinstance(event, dict) and event.get("kind") in ("metrics", "score"):
        raise ValueError(f"events.jsonl has what is no number: {shown(line.decode().strip())}")


def _take(event: dict[str, Any], batch: Batch) -> None:
    kind = event["kind"]
    if kind == "attempt":
        _begin(event["resumed_from"], batch)
    elif kind == RESTART:
        _begin(None, batch)
    elif kind == "metrics":
        for name, value in event["metrics"].items():
            _put(batch, series_name(name), event["step"], value, event["time"])
    elif kind == "score":
        score = event["score"]
        name = score_name(score["task"], score["metric"])
        _put(batch, name, event["step"], score["value"], event["time"])


def _begin(resumed_from: int | None, batch: Batch) -> None:
    """An attempt begins: what stands behind the step from which it resumed was replayed."""
    keep = -math.inf if resumed_from is None else resumed_from
    batch.points = {key: point for key, point in batch.points.items() if key[1] <= keep}
    batch.keep_until = min(batch.keep_until, keep)
    infinite = {}
    for name, (pairs, more) in batch.mark.infinite.items():
        kept = [pair for pair in pairs if pair[0] <= keep]
        infinite[name] = [kept, more if len(kept) == len(pairs) else 0]
    batch.mark = replace(batch.mark, attempts=batch.mark.attempts + 1, infinite=infinite)


def _put(batch: Batch, name: str, step: int, value: float, time: float) -> None:
    if isinstance(step, bool) or not isinstance(step, int) or not -(2**63) <= step < 2**63:
        raise ValueError(f"metric {name!r} has the step {step!r}, which is no 64-bit integer")
    number = float(value)
    _note_infinite(batch, name, step, number)
    batch.names.add(name)
    key = (stored_name(name), step)
    batch.points.pop(key, None)
    batch.points[key] = (math.nan if math.isinf(number) else number, int(time * 1000))


def _note_infinite(batch: Batch, name: str, step: int, value: float) -> None:
    known = batch.mark.infinite.get(name)
    if known is None and not math.isinf(value):
        return
    pairs, more = known or ([], 0)
    kept = [pair for pair in pairs if pair[0] != step]
    if math.isinf(value):
        full = len(kept) >= SHOWN
        kept, more = (kept, more + 1) if full else ([*kept, [step, str(value)]], more)
    infinite = {**batch.mark.infinite, name: [kept, more]}
    batch.mark = replace(batch.mark, infinite=infinite)


def _infinite_tags(infinite: Mapping[str, list[Any]]) -> dict[str, str]:
    said = {}
    for name, (pairs, more) in infinite.items():
        words = [f"{value} at step {step}" for step, value in pairs]
        said[f"{INFINITE_TAG}{name}"] = ", ".join(words + ([f"and {more} more"] if more else []))
    tags = {stored_name(name): stored_value(text) for name, text in said.items()}
    return tags | name_tags(name for name, text in said.items() if text)

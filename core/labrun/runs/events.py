"""The lines of events.jsonl, and which of them hold."""

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic_core import from_json

NEEDED: Mapping[str, Mapping[str, type | tuple[type, ...]]] = {
    "metrics": {"step": int, "metrics": dict},
    "score": {"step": int, "score": dict},
    "attempt": {"attempt": int, "resumed_from": (int, type(None))},
}
"""Kind -> the fields of its event besides `time`."""
SCORE = {
    "task": str,
    "metric": str,
    "value": (int, float),
    "n": int,
    "items": list,
    "over": list,
}
NUMBER = (int, float)
_NUMBERS = {int, float, bool}
"""Types of JSON's numbers."""
NOT_FINITE: Mapping[Any, float] = {
    "NaN": math.nan,
    "Infinity": math.inf,
    "-Infinity": -math.inf,
}
_ENCODER = json.JSONEncoder(allow_nan=False)
RESTART = "restart"
"""Kind of the event after which no earlier one holds: `lab resume --restart`."""


def event_line(event: Mapping[str, Any]) -> str:
    """The event as a line of events.jsonl: JSON, which has no word for a number that is not finite.

    Such a number among metrics or in a score stands as the string "NaN", "Infinity" or "-Infinity".
    """
    try:
        return _ENCODER.encode(event) + "\n"
    except ValueError:
        return _ENCODER.encode(_spelt_out(event)) + "\n"


def _spelt_out(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return json.dumps(float(value))
    if isinstance(value, Mapping):
        return {key: _spelt_out(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_spelt_out(item) for item in value]
    return value


def parse_event(line: bytes) -> dict[str, Any] | None:
    """The event of one line of events.jsonl; None of a line that is damaged or cut off."""
    try:
        event = from_json(line)
    except (ValueError, RecursionError):
        event = _slowly_read(line)
    try:
        if (  # nearly all lines are metrics, and what follows would double their time
            event["kind"] == "metrics"
            and isinstance(event["step"], int)
            and isinstance(event["time"], NUMBER)
            and _NUMBERS.issuperset(map(type, event["metrics"].values()))
        ):
            return event
    except (KeyError, TypeError, AttributeError, IndexError):
        pass
    return _checked(event, line)


def _slowly_read(line: bytes) -> Any:
    """What Python's parser says, which takes five times as long as pydantic's; None where it is no
    JSON. Pydantic's refuses half of a pair of surrogates, which a note may hold.
    """
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _checked(event: Any, line: bytes) -> dict[str, Any] | None:
    """The event of the line; None where a field lacks or has another type."""
    if not isinstance(event, dict) or not isinstance(event.get("kind"), str):
        return None
    if not isinstance(event.get("time"), NUMBER) or not isinstance(event.get("step", 0), int):
        return None
    for key, kind in NEEDED.get(event["kind"], {}).items():
        if not isinstance(event.get(key, math), kind):
            return None
    if b'"NaN"' in line or b'Infinity"' in line:
        event = _with_numbers(event)
    return event if _has_values(event) else None


def _has_values(event: Mapping[str, Any]) -> bool:
    """Whether metrics are numbers, and a score is what `Score` takes."""
    if event["kind"] == "metrics":
        return _NUMBERS.issuperset(map(type, event["metrics"].values()))
    if event["kind"] == "score":
        score = {"items": [], "over": [], **event["score"]}
        known = score.keys() == SCORE.keys()
        return known and all(isinstance(score[key], kind) for key, kind in SCORE.items())
    return True


def _with_numbers(event: dict[str, Any]) -> dict[str, Any]:
    """The event with the numbers that are not finite as numbers again."""
    if event["kind"] == "metrics":
        values = {name: _number(value) for name, value in event["metrics"].items()}
        return event | {"metrics": values}
    if event["kind"] == "score" and isinstance(event["score"].get("items", []), list):
        score = event["score"]
        items = [_number(item) for item in score.get("items", ())]
        return event | {"score": score | {"value": _number(score.get("value")), "items": items}}
    return event


def _number(value: Any) -> Any:
    return NOT_FINITE.get(value, value) if isinstance(value, str) else value


def holding(events: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The events that hold: those of earlier attempts only up to where the next one resumed."""
    current: list[dict[str, Any]] = []
    for event in events:
        if event["kind"] == "attempt":
            start = event["resumed_from"]
            current = [e for e in current if start is not None and e.get("step", 0) <= start]
        elif event["kind"] == RESTART:
            current = []
        current.append(event)
    return current

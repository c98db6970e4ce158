"""A run's events as what the results store holds of them."""

import functools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from labrun.run_dir import RunDir
from labrun.store_names import name_tags, stored_name, stored_value

INFINITE_TAG = "labrun.infinite."
_stored_name = functools.lru_cache(maxsize=4096)(stored_name)


@dataclass
class Points:
    """Points of a run as MLflow takes them, and the tags without which they cannot be read back.

    MLflow would store an infinite value as 1.8e308. It is stored as nan, and the tag
    `labrun.infinite.<metric>` says at which steps it was `inf` or `-inf`.
    """

    metrics: list[Any] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)


def points_of(run: RunDir, *, after: int) -> Points:
    """The run's metrics and scores from the step `after` on, the last value of each step."""
    from mlflow.entities import Metric

    values = {(name, step): (value, time) for name, step, value, time in _values(run)}
    new = {key: value for key, value in values.items() if key[1] >= after}
    metrics = [
        Metric(_stored_name(name), math.nan if math.isinf(value) else value, int(time * 1000), step)
        for (name, step), (value, time) in new.items()
    ]
    names = {name for name, _ in values}
    infinite = [(name, step, v) for (name, step), (v, _) in values.items() if math.isinf(v)]
    return Points(metrics, name_tags(names) | _infinite_tags(infinite))


def _values(run: RunDir) -> Iterator[tuple[str, int, float, float]]:
    """(name, step, value, time) of every logged value and score, in their order."""
    for event in run.current_events():
        if event["kind"] == "metrics":
            for name, value in event["metrics"].items():
                yield name, event["step"], value, event["time"]
        elif event["kind"] == "score":
            score = event["score"]
            name = f"{score['task']}/{score['metric']}"
            yield name, event["step"], score["value"], event["time"]


def _infinite_tags(infinite: Iterable[tuple[str, int, float]]) -> dict[str, str]:
    said: dict[str, list[str]] = {}
    for name, step, value in infinite:
        said.setdefault(f"{INFINITE_TAG}{name}", []).append(f"{value} at step {step}")
    tags = {stored_name(name): stored_value(", ".join(steps)) for name, steps in said.items()}
    return tags | name_tags(said)

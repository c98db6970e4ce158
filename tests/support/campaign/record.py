"""What a run directory says, read from its files alone, without the code that is tested."""

import functools
import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Value = float | str
"""A number, or the word that stands for one that is not finite."""


@dataclass(frozen=True)
class Record:
    """A run's end. Points are what MLflow has to hold: (step, value), the times among them."""

    weights: dict[str, str]
    metrics: dict[tuple[str, int], Value]
    scores: dict[tuple[str, str, int], Any]
    points: dict[tuple[str, int], Value]


def _digest(path: Path) -> str:
    """SHA-256 of the file; of a .pt file, of every tensor and number in it with its name.

    torch writes equal tensors in other bytes where they share memory in another way, as those do
    that were loaded from a checkpoint.
    """
    if path.suffix != ".pt":
        return hashlib.sha256(path.read_bytes()).hexdigest()
    import torch

    digest = hashlib.sha256()
    for name, value in _leaves(torch.load(path, weights_only=True, map_location="cpu")):
        is_tensor = isinstance(value, torch.Tensor)
        shown = f"{value.dtype}{tuple(value.shape)}" if is_tensor else repr(value)
        digest.update(f"{name} {shown}\n".encode())
        if is_tensor:
            digest.update(value.contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, f"{name}/{key}")
    elif isinstance(value, list | tuple):
        for place, inner in enumerate(value):
            yield from _leaves(inner, f"{name}/{place}")
    else:
        yield name, value


def read(run: Path, *, weights: Iterable[str]) -> Record:
    """The record of a run whose weights lie under these patterns."""
    files = [path for pattern in weights for path in sorted(run.glob(pattern))]
    sums = {str(path.relative_to(run)): _digest(path) for path in files}
    points: dict[tuple[str, int], Value] = {}
    scores: dict[tuple[str, str, int], Any] = {}
    metrics: dict[tuple[str, int], Value] = {}
    for event in _current(run):
        if event["kind"] == "metrics":
            metrics |= {(name, event["step"]): v for name, v in event["metrics"].items()}
        elif event["kind"] == "score":
            score, step = event["score"], event["step"]
            scores[score["task"], score["metric"], step] = (score["value"], score["items"])
            points[f"{score['task']}/{score['metric']}", step] = score["value"]
    untimed = {key: value for key, value in metrics.items() if not key[0].startswith("time/")}
    return Record(sums, untimed, scores, points | metrics)


def _current(run: Path) -> list[dict[str, Any]]:
    """The events that hold: an attempt resumed at a step replaces all that came after it."""
    current: list[dict[str, Any]] = []
    for event in _events(run):
        if event["kind"] == "attempt":
            start = event["resumed_from"]
            current = [e for e in current if start is not None and e.get("step", 0) <= start]
        current.append(event)
    return current


def _events(run: Path) -> Iterable[dict[str, Any]]:
    for line in _bytes(run / "events.jsonl").splitlines():
        try:
            yield json.loads(line)
        except ValueError:  # cut off by a kill
            continue


def run_of(home: Path) -> Path | None:
    """The only run of this home; None before it is there."""
    specs = [path for path in home.glob("*/spec.json") if not path.parent.name.startswith(".")]
    assert len(specs) <= 1, f"{home} holds {len(specs)} runs"
    return specs[0].parent if specs else None


# What follows is asked hundreds of times a second: a file is read again only where it changed.

_runs: dict[Path, Path] = {}
"""The run of each home, from when it was first seen."""


def _run(home: Path) -> Path | None:
    if home not in _runs and (run := run_of(home)):
        _runs[home] = run
    return _runs.get(home)


def events_of(home: Path) -> int:
    """Lines of events that the run has written."""
    run = _run(home)
    return _num_lines(run / "events.jsonl", _stamp(run / "events.jsonl")) if run else 0


def stage_of(home: Path, *, since: float) -> str:
    """The stage that the run says it is in; empty where it has said none since this time."""
    said = _json(home, "progress.json")
    return said.get("stage", "") if said.get("time", 0) >= since else ""


def state_of(home: Path) -> str:
    """The state in status.json; empty before there is one."""
    return _json(home, "status.json").get("state", "")


def drafts_of(home: Path) -> set[tuple[str, int]]:
    """The checkpoints that are half written, each with its inode: a later one has another."""
    if (run := _run(home)) is None:
        return set()
    try:
        names = os.listdir(run / "checkpoints")
    except FileNotFoundError:  # not there yet, or gone while it was looked through
        return set()
    drafts = [name for name in names if name.startswith(".draft-")]
    inodes = {name: _stamp(run / "checkpoints" / name)[0] for name in drafts}
    return {(name, inode) for name, inode in inodes.items() if inode}


def store_stamp(home: Path) -> int:
    """When a file of MLflow's store last changed, in nanoseconds; 0 before there is one."""
    try:
        names = os.listdir(home)
    except FileNotFoundError:
        return 0
    return max((_stamp(home / name)[1] for name in names if "mlflow.db" in name), default=0)


Stamp = tuple[int, int, int]
"""Inode, time of change in nanoseconds, and bytes of a file; all 0 where there is none."""


def _stamp(path: Path) -> Stamp:
    try:
        facts = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return (0, 0, 0)
    return (facts.st_ino, facts.st_mtime_ns, facts.st_size)


def _json(home: Path, name: str) -> dict[str, Any]:
    run = _run(home)
    return _parsed(run / name, _stamp(run / name)) if run else {}


@functools.lru_cache(maxsize=256)
def _parsed(path: Path, stamp: Stamp) -> dict[str, Any]:
    try:
        return json.loads(_bytes(path))
    except ValueError:
        return {}


@functools.lru_cache(maxsize=256)
def _num_lines(path: Path, stamp: Stamp) -> int:
    return _bytes(path).count(b"\n")


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""

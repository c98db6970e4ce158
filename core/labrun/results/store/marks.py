"""How far a run was copied into a results store."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from labrun.results.store.said import said_of
from labrun.runs import notes
from labrun.runs.run_dir import EVENTS, RunDir
from labrun.runs.signs import mark_of as mark_at

LAYOUT = 1
"""Changes with the names and the experiment under which runs are stored; 0: one experiment a
plugin, metrics without `train/` and `eval/`."""


@dataclass(frozen=True)
class Mark:
    """How far a run was copied.

    `offset` counts bytes of events.jsonl, `tail` is what stands before it. `size` and `status` are
    of events.jsonl and status.json when they were read. `infinite` holds the first steps at which a
    metric was not finite, and how many more there were.
    """

    offset: int = 0
    tail: str = ""
    size: int = -1
    status: int = 0
    state: str = ""
    attempts: int = 0
    folder: str = ""
    infinite: Mapping[str, list[Any]] = field(default_factory=dict)
    layout: int = LAYOUT
    said: str = ""
    """Of the user's name and tags when they were copied (`said_of`)."""

    def to_json(self) -> str:
        return json.dumps(vars(self))


class Copied(NamedTuple):
    """What a mark says of the copied files: all that tells whether the run has changed since."""

    size: int = -1
    status: int = 0
    state: str = ""
    folder: str = ""
    said: str = ""


def copied(text: str) -> Copied:
    """What the mark in this JSON says; empty if the text is no mark."""
    try:
        mark = json.loads(text)
        said = mark.get("said", "")
        return Copied(mark["size"], mark["status"], mark["state"], mark["folder"], said)
    except (ValueError, TypeError, KeyError):
        return Copied()


def mark_of(text: str | None) -> Mark:
    """The mark in this JSON; if the text is no mark, that of a run that was never copied."""
    try:
        return Mark(**{"layout": 0} | json.loads(text)) if text else Mark()
    except (ValueError, TypeError):
        return Mark()


def looked_at(mark: Mark, run: RunDir) -> Mark:
    """The mark with the run's present signs: the sizes and times of its files, its state, and what
    the user says of it."""
    size, status = signs(run)
    return replace(
        mark,
        size=size,
        status=status,
        state=run.status().state,
        folder=str(run.path.parent),
        said=said_of(notes.known(run.path)),
    )


def signs(run: RunDir) -> tuple[int, int]:
    """The size of events.jsonl and the time of status.json, 0 where one is missing; they change
    with the run."""
    (_, size, _), (_, _, status) = (mark_at(f"{run.path}/{n}") for n in (EVENTS, "status.json"))
    return size, status

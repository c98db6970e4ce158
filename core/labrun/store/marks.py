"""How far a run was copied into a results store."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from labrun.run_dir import ENDED, RunDir


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

    def to_json(self) -> str:
        return json.dumps(asdict(self))


def mark_of(text: str | None) -> Mark:
    """The mark of this JSON; that of a run of which nothing was copied where it is none."""
    try:
        return Mark(**json.loads(text or "{}"))
    except (ValueError, TypeError):
        return Mark()


def looked_at(mark: Mark, run: RunDir) -> Mark:
    """The mark with the run's present signs: the sizes and times of its files, and its state."""
    size, status = signs(run)
    return replace(
        mark, size=size, status=status, state=run.status().state, folder=str(run.path.parent)
    )


def signs(run: RunDir) -> tuple[int, int]:
    """The size of events.jsonl and the time of status.json; they change with the run."""
    size = status = 0
    try:
        size = os.stat(run.path / "events.jsonl").st_size
        status = os.stat(run.path / "status.json").st_mtime_ns
    except FileNotFoundError:
        pass
    return size, status


def is_behind(mark: Mark, run: RunDir) -> bool:
    """Whether the run has changed since it was copied."""
    if (mark.size, mark.status) != signs(run) or mark.folder != str(run.path.parent):
        return True
    return mark.state not in ENDED and run.status().state != mark.state

"""Which runs a command means: by id, or by what they have in common."""

import json
import re
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labrun.errors import LabError, shown, unknown
from labrun.runs import run_index
from labrun.runs.run_dir import RunDir, group_of, names

NOTES = "notes.json"
UNITS_S = {"m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
DATES = ("%Y-%m-%d", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S")


@dataclass(frozen=True)
class Wanted:
    """What runs must have in common. Of several values of one kind, any will do."""

    plugins: Sequence[str] = ()
    methods: Sequence[str] = ()
    groups: Sequence[str] = ()
    tags: Sequence[str] = ()
    since: float | None = None
    """Seconds since the epoch; runs that were created earlier are left out."""

    def __bool__(self) -> bool:
        return bool(self.plugins or self.methods or self.groups or self.tags) or bool(self.since)


def selected(named: Sequence[str], wanted: Wanted, root: Path) -> list[RunDir]:
    """The runs named, or all under `root`, oldest first, of which every kind of `wanted` holds.

    Without names and wishes: the newest run's group. Raises LabError for a name, a plugin, ... that
    no run has, and where nothing is left.
    """
    if not wanted:
        return run_index.select(named, None, root)
    runs = [run_index.find(name, root) for name in named] or _all(wanted, root)
    for what, values, of in (
        ("plugin", wanted.plugins, plugin_of),
        ("method", wanted.methods, method_of),
        ("group", wanted.groups, _group_of),
        ("tag", wanted.tags, tags_of),
    ):
        runs = _having(what, values, of, runs) if values else runs
    if wanted.since is not None:
        runs = [run for run in runs if run.created() >= wanted.since]
    if not runs:
        raise LabError(f"{_words(wanted)}: no run has all of these; `lab runs` lists them")
    return runs


def _all(wanted: Wanted, root: Path) -> list[RunDir]:
    """Of one group, or all of them."""
    if wanted.groups:
        return [run for group in dict.fromkeys(wanted.groups) for run in _members(group, root)]
    if not names(root):
        raise LabError(f"there are no runs in {root}; `lab run plugin=...` makes one")
    return [entry.run for entry in run_index.entries(root)]


def _members(group: str, root: Path) -> list[RunDir]:
    return run_index.select([], group, root)


def _having(
    what: str,
    values: Sequence[str],
    of: Callable[[RunDir], Iterable[str]],
    runs: Sequence[RunDir],
) -> list[RunDir]:
    """The runs with one of the values. Raises LabError for a value that none of them has."""
    held = {run: set(of(run)) for run in runs}
    known = set().union(*held.values())
    for value in values:
        if value not in known:
            raise unknown(f"run with {what}", value, known)
    return [run for run in runs if not held[run].isdisjoint(values)]


def _group_of(run: RunDir) -> list[str]:
    group = group_of(run)
    return [] if group is None else [group]


def plugin_of(run: RunDir) -> list[str]:
    """The run's plugin; nothing of a spec that cannot be read."""
    return _texts([_frozen(run).get("plugin")])


def method_of(run: RunDir) -> list[str]:
    """The run's preset of the method; nothing where it has none."""
    choices = _frozen(run).get("choices")
    return _texts([choices.get("method")] if isinstance(choices, dict) else [])


def tags_of(run: RunDir) -> list[str]:
    """The tags in the run's notes.json; nothing where there is none, or it cannot be read."""
    tags = _object(run.path / NOTES).get("tags")
    return _texts(tags if isinstance(tags, list) else [])


def note_of(run: RunDir) -> str:
    """The note in the run's notes.json; empty where there is none, or it cannot be read."""
    note = _object(run.path / NOTES).get("note")
    return note.strip() if isinstance(note, str) else ""


def _frozen(run: RunDir) -> dict[str, Any]:
    """The experiment of spec.json, unchecked: what is compared is read again, and checked then."""
    frozen = _object(run.path / "spec.json").get("experiment")
    return frozen if isinstance(frozen, dict) else {}


def _object(path: Path) -> dict[str, Any]:
    try:
        said = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}


def _texts(values: Iterable[Any]) -> list[str]:
    return [value for value in values if isinstance(value, str)]


def time_of(text: str, *, now: float | None = None) -> float:
    """Seconds since the epoch of a local date, or of a span before now: `2026-11-25`, `2d`, `90m`.

    Raises LabError for other words.
    """
    span = re.fullmatch(r"(\d{1,6})([mhdw])", text.strip())
    if span:
        return (time.time() if now is None else now) - int(span[1]) * UNITS_S[span[2]]
    for form in DATES:
        try:
            return time.mktime(time.strptime(text.strip(), form))
        except (ValueError, OverflowError):
            continue
    raise LabError(
        f"--since {shown(text)!r} is no time; write a date (2026-11-25, '2026-11-25 14:00') or a "
        "span before now (90m, 12h, 2d, 1w)"
    )


def _words(wanted: Wanted) -> str:
    kinds = {
        "plugin": wanted.plugins,
        "method": wanted.methods,
        "group": wanted.groups,
        "tag": wanted.tags,
    }
    words = [f"--{kind} {shown(value)}" for kind, values in kinds.items() for value in values]
    if wanted.since is not None:
        local = time.localtime(wanted.since)
        words.append(f"--since {time.strftime('%Y-%m-%d %H:%M', local)}")
    return " ".join(words)

"""Which runs a command means: by id, or by what they have in common."""

import re
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from labrun.errors import LabError, shown, unknown
from labrun.runs import run_index
from labrun.runs.run_dir import RunDir, group_of
from labrun.runs.run_index import Entry

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
    archived: bool = False
    """Whether archived runs are among them, too."""

    def __bool__(self) -> bool:
        return bool(self.plugins or self.methods or self.groups or self.tags) or bool(self.since)


@dataclass(frozen=True)
class Selection:
    """Runs, and how many archived ones the same wishes leave out."""

    runs: list[RunDir]
    num_archived: int = 0
    unread: Sequence[str] = ()
    """Ids of the runs of which nobody can say whether they are meant: their spec is damaged."""


def selected(named: Sequence[str], wanted: Wanted, root: Path) -> Selection:
    """The runs named, or all under `root`, oldest first, of which every kind of `wanted` holds.

    Without names and wishes: the newest run's group. Raises LabError for a name, a plugin, ... that
    no run has, and where nothing is left.
    """
    if not wanted:
        runs = run_index.select(named, None, root, archived=wanted.archived)
        if named:
            return Selection(runs)
        groups = {group for run in runs if (group := group_of(run)) is not None}
        every_one = (m for g in groups for m in run_index.members(g, root, archived=True))
        num_archived = sum(1 for _ in every_one) - len(runs)
        return Selection(runs, num_archived, run_index.unread(root))
    by_name = run_index.of(run_index.select(named, None, root)) if named else []
    every, unread = (by_name, _unread(by_name)) if by_name else _every(root, wanted.groups)
    is_shown = bool(named) or wanted.archived
    found = [entry for entry in every if is_shown or not entry.notes.archived]
    hidden = [entry for entry in every if not is_shown and entry.notes.archived]
    for what, values, of in (
        ("group", wanted.groups, lambda entry: [entry.group]),
        ("run with plugin", wanted.plugins, lambda entry: [entry.facts.get("plugin")]),
        ("run with method", wanted.methods, lambda entry: [entry.facts.get("method")]),
        ("run with tag", wanted.tags, lambda entry: entry.notes.tags),
    ):
        if values:
            _refuse_archived(what, values, of, found, hidden)
            found = _having(what, values, of, found)
            hidden = [entry for entry in hidden if not set(values).isdisjoint(of(entry))]
    since = wanted.since or 0.0
    if runs := [entry.run for entry in found if entry.created >= since]:
        return Selection(runs, sum(entry.created >= since for entry in hidden), unread)
    if any(entry.created >= since for entry in hidden):
        raise LabError(f"{_words(wanted)}: every such run is archived; --archived takes them in")
    raise LabError(f"{_words(wanted)}: no run has all of these; `lab runs` lists them")


def _every(root: Path, groups: Sequence[str]) -> tuple[list[Entry], list[str]]:
    """Every run, oldest first, and the ids of the unread ones. The runs of these groups alone where
    all of the groups are there, since the files of the others need not be looked at then."""
    held = run_index.by_group(root) if groups else {}
    if groups and held.keys() >= set(groups):
        names = (name for group in dict.fromkeys(groups) for name in held[group])
        found = run_index.of(RunDir(root / name) for name in names)
        return sorted(found, key=lambda entry: (entry.created, entry.id)), held.get(None, [])
    entries = run_index.entries(root)
    if not entries:
        raise LabError(f"there are no runs in {root}; `lab run plugin=...` makes one")
    return entries, _unread(entries)


def _unread(entries: Iterable[Entry]) -> list[str]:
    return [entry.id for entry in entries if entry.group is None]


Of = Callable[[Entry], Iterable[str | None]]
"""An entry -> its values of one kind."""


def _refuse_archived(
    what: str, values: Sequence[str], of: Of, found: Sequence[Entry], hidden: Sequence[Entry]
) -> None:
    """Raise LabError for a value that only archived runs have."""
    known = {value for entry in found for value in of(entry)}
    of_what = "run of group" if what == "group" else what
    for value in values:
        if value not in known and any(value in of(entry) for entry in hidden):
            raise LabError(
                f"every {of_what} {shown(value)!r} is archived; --archived takes them in"
            )


def _having(
    what: str,
    values: Sequence[str],
    of: Of,
    found: Sequence[Entry],
) -> list[Entry]:
    """The runs with one of the values. Raises LabError for a value that none of them has."""
    held = {entry.id: {value for value in of(entry) if value is not None} for entry in found}
    known = set().union(*held.values())
    for value in values:
        if value not in known:
            raise unknown(what, value, known)
    return [entry for entry in found if not held[entry.id].isdisjoint(values)]


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

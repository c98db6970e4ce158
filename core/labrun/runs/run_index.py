"""The index of runs: an entry for each run, and which runs a command means."""

import os
from collections.abc import Container, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from labrun.errors import LabError, listed, unknown
from labrun.runs import index_file
from labrun.runs.index_file import FILE, Known, Noted, Recorded, Spec
from labrun.runs.notes import Notes
from labrun.runs.run_dir import RunDir
from labrun.runs.run_status import ENDED, gone

LONGEST_NAME = 255
MOST_RUNS = 3
"""Runs that are named in place of one that is not there; an id is long."""


class Entry(NamedTuple):
    """A run as the lists show it; `group` is None where its spec cannot be read.

    `id` is the name of its directory in `root`. `signs` are the size of events.jsonl and the time
    of status.json. `recorded` is what that file says; `state` is what has become of the run since.
    `facts` are those of `Spec`; `notes` are without the note itself.
    """

    root: str
    id: str
    created: float
    group: str | None
    uri: str
    state: str
    step: int
    signs: tuple[int, int]
    recorded: Recorded
    facts: dict[str, Any]
    notes: Notes
    notes_fault: str

    @property
    def run(self) -> RunDir:
        return RunDir(Path(self.root, self.id))


def entries(root: Path) -> list[Entry]:
    """Every run under `root`, oldest first, archived ones too."""
    before, place = index_file.read(root / FILE), str(root)
    now = {}
    for name, spec in index_file.specs(root, before).items():
        path, old = f"{place}/{name}", before.get(name)
        now[name] = Known(spec, index_file.recorded(path, old), index_file.noted(path, old))
    index_file.keep(root / FILE, before, now)
    found = [_entry(place, name, known) for name, known in now.items()]
    return sorted(found, key=lambda entry: (entry.created, entry.id))


def find(name: str, root: Path) -> RunDir:
    """The run with this id, display name, or unambiguous beginning of an id, or at this path;
    `last` is the newest that is not archived."""
    if not name.strip():
        raise LabError("an empty name means no run; is a variable of your shell empty?")
    for path in (root / name, Path(name)):
        if len(name) < LONGEST_NAME and os.path.lexists(path / "spec.json"):
            return RunDir(path.absolute())
    found = _members(root)
    if name == "last" and found:
        return next((m for m in reversed(found) if not m.notes.archived), found[-1]).run
    ids = [member.id for member in found]
    matches = (
        [run_id for run_id in ids if run_id == name]
        or [member.id for member in found if member.notes.name == name]
        or [run_id for run_id in ids if run_id.startswith(name)]
    )
    if len(matches) == 1:
        return RunDir(root / matches[0])
    if matches:
        raise LabError(f"run {name!r} could be {listed(matches, near=name)}")
    if not found:
        raise LabError(f"no run {name!r}: there are none in {root}; `lab run plugin=...` makes one")
    names = [*ids, *filter(None, (member.notes.name for member in found))]
    raise unknown("run", name, names, most=MOST_RUNS)


def refuse_taken(name: str, run: RunDir, root: Path) -> None:
    """Raise LabError where another run has this id or display name."""
    for member in _members(root) if name else ():
        if member.id != run.id and name in (member.id, member.notes.name):
            raise LabError(f"run {member.id} is named {name!r} already; choose another name")


def select(
    names: Sequence[str], group: str | None, root: Path, *, archived: bool = False
) -> list[RunDir]:
    """The runs named, each once, else those of the group, else those of the newest run's group;
    archived ones only where they are named, or with `archived`."""
    if names:
        return list(dict.fromkeys(find(name, root) for name in names))
    found = _members(root)
    if not found:
        raise LabError(f"there are no runs in {root}; `lab run plugin=...` makes one")
    if not group and not archived and all(member.notes.archived for member in found):
        raise LabError(f"every run in {root} is archived; name the runs that you mean")
    shown = [member for member in found if archived or not member.notes.archived]
    newest = next((member.group for member in reversed(shown) if member.group is not None), "")
    wanted = group or newest
    _refuse_unknown(wanted, (member.group for member in (found if group else shown)))
    if runs := [member.run for member in shown if member.group == wanted]:
        return runs
    raise LabError(f"every run of group {wanted!r} is archived; name the runs that you mean")


def in_group(group: str, found: Sequence[Entry]) -> list[Entry]:
    """The entries of this group. Raises LabError where there is none."""
    _refuse_unknown(group, (entry.group for entry in found))
    return [entry for entry in found if entry.group == group]


def _refuse_unknown(group: str, groups: Iterable[str | None]) -> None:
    known = {one for one in groups if one is not None}
    if group not in known:
        raise unknown("group", group, known)


def members(group: str, root: Path, *, archived: bool = False) -> list[RunDir]:
    """Every run with this group label under `root`, oldest first; unreadable ones are left out, and
    archived ones unless they are asked for."""
    return [
        member.run
        for member in _members(root, group=group)
        if archived or not member.notes.archived
    ]


def unread(root: Path) -> list[str]:
    """The ids of the runs under `root` whose spec cannot be read, oldest first."""
    return by_group(root).get(None, [])


def by_group(root: Path) -> dict[str | None, list[str]]:
    """Group -> the ids of its runs under `root`, oldest first; None -> the unreadable ones."""
    found: dict[str | None, list[str]] = {}
    for name, spec in _specs(root):
        found.setdefault(spec.group, []).append(name)
    return found


def groups(root: Path) -> dict[str, list[str]]:
    """Group -> the ids of its runs under `root`, oldest first; unreadable ones left out."""
    return {group: ids for group, ids in by_group(root).items() if group is not None}


def of(runs: Iterable[RunDir]) -> list[Entry]:
    """The entries of these runs, in their order."""
    return [_of(run) for run in runs]


def refreshed(found: Iterable[Entry], ids: Container[str]) -> list[Entry]:
    """The entries, with those of these runs read again."""
    return [_of(entry.run) if entry.id in ids else entry for entry in found]


def _of(run: RunDir) -> Entry:
    path = str(run.path)
    known = Known(
        index_file.spec_of(path), index_file.recorded(path, None), index_file.noted(path, None)
    )
    return _entry(str(run.path.parent), run.id, known)


class _Member(NamedTuple):
    """A run with its group and its notes; `id` is the name of its directory in `root`."""

    root: Path
    id: str
    group: str | None
    notes: Notes

    @property
    def run(self) -> RunDir:
        return RunDir(self.root / self.id)


def _members(root: Path, *, group: str | None = None) -> list[_Member]:
    """Every run under `root`, or of this group, oldest first; no status is read."""
    before, place = index_file.read(root / FILE), str(root)
    specs = dict(_specs(root, group=group))
    noted = {
        name: index_file.noted(f"{place}/{name}", before.get(name))
        for name, spec in specs.items()
        if group is None or spec.group == group
    }
    return [_Member(root, name, specs[name].group, _notes(said)) for name, said in noted.items()]


def _specs(root: Path, *, group: str | None = None) -> list[tuple[str, Spec]]:
    """Every run under `root` with its spec, oldest first; `group` as in `index_file.specs`."""
    before = index_file.read(root / FILE)
    now = {}
    for name, spec in index_file.specs(root, before, group=group).items():
        old = before.get(name)
        now[name] = Known(spec, old.recorded if old else None, old.noted if old else None)
    index_file.keep(root / FILE, before, now)
    return sorted(
        ((name, known.spec) for name, known in now.items()),
        key=lambda item: (item[1].created, item[0]),
    )


def _entry(root: str, name: str, known: Known) -> Entry:
    """The run's entry now; if the run has not ended, its process is looked up."""
    spec, recorded, noted = known
    assert recorded is not None, "an entry is made of a status"
    size = index_file.sign_of(f"{root}/{name}/events.jsonl")[1]
    state, step = recorded.state, recorded.step
    is_cut = state == "done" and recorded.sealed not in (None, size)
    if is_cut or (state not in ENDED and gone(Path(root, name), recorded.status())):
        now = RunDir(Path(root, name)).status()  # read again: it may have ended meanwhile
        state, step = now.state, now.step
    signs = (size, recorded.sign[0])
    return Entry(
        root=root,
        id=name,
        created=spec.created,
        group=spec.group,
        uri=spec.uri,
        state=state,
        step=step,
        signs=signs,
        recorded=recorded,
        facts=spec.facts,
        notes=_notes(noted),
        notes_fault=noted.fault if noted else "",
    )


def _notes(noted: Noted | None) -> Notes:
    return Notes(noted.name, tuple(noted.tags), archived=noted.archived) if noted else Notes()

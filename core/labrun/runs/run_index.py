"""What the lists of runs show, from an index that spares reading every run again.

The index is `.index.json` in LABRUN_HOME. It is never the truth: what it says of a run counts only
while the files that it was read from are unchanged, and it may be deleted at any time.
"""

import contextlib
import json
import os
from collections.abc import Container, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from labrun.errors import LabError, listed, unknown
from labrun.runs.run_dir import LATEST, RunDir, group_of, hash_of, is_run, names
from labrun.runs.run_status import ENDED

VERSION = 2
FILE = ".index.json"
WORTH_WRITING = 16
"""Runs that were read anew, from which on the index is written."""
LONGEST_NAME = 255

Sign = list[int]
"""Time, size and inode of a file; zeros where there is none."""
NOTHING: Sign = [0, 0, 0]


class Spec(NamedTuple):
    """What spec.json says; `group` is None where it cannot be read."""

    sign: Sign
    created: float
    group: str | None
    uri: str


class Recorded(NamedTuple):
    """What status.json says; `sealed` is the size of events.jsonl that the run's end sealed."""

    sign: Sign
    state: str
    step: int
    sealed: int | None


class Entry(NamedTuple):
    """A run as the lists show it; `group` is None where its spec cannot be read.

    `id` is the name of its directory in `root`. `signs` are the size of events.jsonl and the time
    of status.json.
    """

    root: str
    id: str
    created: float
    group: str | None
    uri: str
    state: str
    step: int
    signs: tuple[int, int]

    @property
    def run(self) -> RunDir:
        return RunDir(Path(self.root, self.id))


Known = Mapping[str, tuple[Spec, Recorded | None]]


def entries(root: Path) -> list[Entry]:
    """Every run under `root`, oldest first."""
    before, place = _read(root / FILE), str(root)
    now = {
        name: (spec, _recorded(f"{place}/{name}", before.get(name)))
        for name, spec in _specs(root, before).items()
    }
    _keep(root / FILE, before, now)
    found = [_entry(place, name, *known) for name, known in now.items()]
    return sorted(found, key=lambda entry: (entry.created, entry.id))


def find(name: str, root: Path) -> RunDir:
    """The run with this id, an unambiguous beginning of it, or its path; `last` is the newest."""
    for path in (root / name, Path(name)):
        if len(name) < LONGEST_NAME and os.path.lexists(path / "spec.json"):
            return RunDir(path.absolute())
    found = [run_id for run_id, _ in _grouped(root)]
    if name == "last" and found:
        return RunDir(root / found[-1])
    matches = [one for one in found if one == name] or [
        one for one in found if one.startswith(name)
    ]
    if len(matches) == 1:
        return RunDir(root / matches[0])
    if matches:
        raise LabError(f"run {name!r} could be {listed(matches, near=name)}")
    if not found:
        raise LabError(f"no run {name!r}: there are none in {root}; `lab run plugin=...` makes one")
    raise unknown("run", name, found)


def select(names: Sequence[str], group: str | None, root: Path) -> list[RunDir]:
    """The runs named, else those of the group, else those of the newest run's group."""
    if names:
        return [find(name, root) for name in names]
    found = _grouped(root)
    if not found:
        raise LabError(f"there are no runs in {root}; `lab run plugin=...` makes one")
    wanted = group or next((of for _, of in reversed(found) if of is not None), "")
    _refuse_unknown(wanted, (of for _, of in found))
    return [RunDir(root / run_id) for run_id, of in found if of == wanted]


def in_group(group: str, found: Sequence[Entry]) -> list[Entry]:
    """The entries of this group. Raises LabError where there is none."""
    _refuse_unknown(group, (entry.group for entry in found))
    return [entry for entry in found if entry.group == group]


def _refuse_unknown(group: str, groups: Iterable[str | None]) -> None:
    known = {one for one in groups if one is not None}
    if group not in known:
        raise unknown("group", group, known)


def members(group: str, root: Path) -> list[RunDir]:
    """Every run with this group label under `root`, oldest first; unreadable ones left out."""
    return [RunDir(root / run_id) for run_id, of in _grouped(root) if of == group]


def groups(root: Path) -> dict[str, list[str]]:
    """Group -> the ids of its runs under `root`, oldest first; unreadable ones left out."""
    found: dict[str, list[str]] = {}
    for run_id, group in _grouped(root):
        if group is not None:
            found.setdefault(group, []).append(run_id)
    return found


def of(runs: Iterable[RunDir]) -> list[Entry]:
    """The entries of these runs, in their order."""
    return [_of(run) for run in runs]


def refreshed(found: Iterable[Entry], ids: Container[str]) -> list[Entry]:
    """The entries, with those of these runs read again."""
    return [_of(entry.run) if entry.id in ids else entry for entry in found]


def _of(run: RunDir) -> Entry:
    path = str(run.path)
    return _entry(str(run.path.parent), run.id, _spec(path), _recorded(path, None))


def _grouped(root: Path) -> list[tuple[str, str | None]]:
    """The id of every run under `root` with its group, oldest first."""
    before = _read(root / FILE)
    specs = _specs(root, before)
    known = {name: before.get(name, (None, None))[1] for name in specs}
    _keep(root / FILE, before, {name: (spec, known[name]) for name, spec in specs.items()})
    ordered = sorted(specs.items(), key=lambda item: (item[1].created, item[0]))
    return [(name, spec.group) for name, spec in ordered]


def _sign(path: str) -> Sign:
    try:
        facts = os.stat(path)
    except OSError:
        return NOTHING
    return [facts.st_mtime_ns, facts.st_size, facts.st_ino]


def _specs(root: Path, before: Known) -> dict[str, Spec]:
    """Name -> spec of every run under `root`."""
    specs, place = {}, str(root)
    for name in names(root):
        known = before.get(name)
        sign = _sign(f"{place}/{name}/spec.json")
        if known and known[0].sign == sign != NOTHING:
            specs[name] = known[0]
        elif sign != NOTHING or is_run(root / name):
            specs[name] = _spec(f"{place}/{name}")
    return specs


def _spec(path: str) -> Spec:
    """What the run's spec says; if its hash does not hold, the whole spec is checked."""
    sign = _sign(f"{path}/spec.json")
    try:
        with open(f"{path}/spec.json", "rb") as text:
            spec = json.loads(text.read())
        settings = spec["experiment"]["run"]
        created, group, uri = spec["created"], settings["group"], settings["tracking"]["uri"]
        sound = hash_of(spec["experiment"]) == spec["config_hash"]
        if sound and 0 <= created < LATEST:
            return Spec(sign, float(created), str(group), str(uri))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        pass
    run = RunDir(Path(path))
    return Spec(sign, run.created(), group_of(run), "")


def _recorded(path: str, before: tuple[Spec, Recorded | None] | None) -> Recorded:
    sign = _sign(f"{path}/status.json")
    known = before[1] if before else None
    if known and known.sign == sign:
        return known
    status = RunDir(Path(path)).recorded_status()
    return Recorded(sign, status.state, status.step, status.sealed.bytes if status.sealed else None)


def _entry(root: str, name: str, spec: Spec, recorded: Recorded) -> Entry:
    """The run's entry now; if the run has not ended, its process is looked up."""
    size = _sign(f"{root}/{name}/events.jsonl")[1]
    state, step = recorded.state, recorded.step
    if state not in ENDED or (state == "done" and recorded.sealed not in (None, size)):
        now = RunDir(Path(root, name)).status()
        state, step = now.state, now.step
    signs = (size, recorded.sign[0])
    return Entry(root, name, spec.created, spec.group, spec.uri, state, step, signs)


def _read(path: Path) -> Known:
    try:
        read = json.loads(path.read_bytes())
        if read["version"] != VERSION:
            return {}
        return {
            name: (Spec(*spec), Recorded(*recorded) if recorded else None)
            for name, (spec, recorded) in read["runs"].items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _keep(path: Path, before: Known, now: Known) -> None:
    """Write the index where enough of it is new; without it the runs are read again."""
    num_new = sum(before.get(name) != known for name, known in now.items())
    if max(num_new, len(before) - len(now)) < WORTH_WRITING:
        return
    draft = path.with_name(f"{FILE}.{os.getpid()}")
    with contextlib.suppress(OSError):
        draft.write_text(json.dumps({"version": VERSION, "runs": now}))
        os.replace(draft, path)

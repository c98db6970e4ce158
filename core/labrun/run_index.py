"""What the lists of runs show, from an index that spares reading every run again.

The index is `.index.json` in LABRUN_HOME. It is never the truth: each entry counts only while the
files that it was read from are unchanged, and the whole may be deleted at any time.
"""

import contextlib
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from labrun import run_dir
from labrun.errors import LabError, unknown
from labrun.run_dir import ENDED, RunDir, group_of

VERSION = 1
FILE = ".index.json"
WORTH_WRITING = 16
"""Entries that were read anew, from which on the index is written."""

Sign = tuple[int, int, int]
"""Time, size and inode of a file; zeros where there is none."""
NOTHING: Sign = (0, 0, 0)


@dataclass(frozen=True)
class Known:
    """What was read of a run, and the signs of spec.json and status.json then."""

    spec: Sign
    status: Sign
    created: float
    group: str | None
    uri: str
    state: str
    step: int
    sealed: int | None
    """Bytes of events.jsonl that a done run sealed."""


@dataclass(frozen=True)
class Entry:
    """A run as the lists show it; `group` is None where its spec cannot be read.

    `signs` are the size of events.jsonl and the time of status.json.
    """

    run: RunDir
    created: float
    group: str | None
    uri: str
    state: str
    step: int
    signs: tuple[int, int]


def entries(root: Path) -> list[Entry]:
    """Every run under `root`, oldest first."""
    before = _read(root / FILE)
    now: dict[str, Known] = {}
    found = []
    for name in _names(root):
        run = RunDir(root / name)
        spec, status = _signs(run)
        if spec != NOTHING or run_dir._is_run(run.path):
            now[name] = _known(run, before.get(name), spec, status)
            found.append(_entry(run, now[name]))
    num_new = sum(before.get(name) is not known for name, known in now.items())
    if num_new >= WORTH_WRITING or len(before) - len(now) >= WORTH_WRITING:
        _write(root / FILE, now)
    return sorted(found, key=lambda entry: (entry.created, entry.run.id))


def find(name: str, root: Path) -> RunDir:
    """The run with this id, an unambiguous beginning of it, or its path; `last` is the newest."""
    if name == "last" and not (root / name).exists() and (found := entries(root)):
        return found[-1].run
    begun = [one for one in _names(root) if name and one.startswith(name)]
    if len(begun) == 1 and run_dir._is_run(root / begun[0]):
        return RunDir(root / begun[0])
    return run_dir.find(name, root)


def select(names: Sequence[str], group: str | None, root: Path) -> list[Entry]:
    """The runs named, else those of the group, else those of the newest run's group."""
    if names:
        return of([find(name, root) for name in names])
    found = entries(root)
    if not found:
        raise LabError(f"there are no runs in {root}; `lab run plugin=...` makes one")
    known = [entry.group for entry in found if entry.group is not None]
    wanted = group or (known[-1] if known else "")
    if wanted not in known:
        raise unknown("group", wanted, set(known))
    return [entry for entry in found if entry.group == wanted]


def members(group: str, root: Path) -> list[RunDir]:
    """Every run of this group under `root`, oldest first; one whose spec cannot be read is none."""
    return [entry.run for entry in entries(root) if entry.group == group]


def of(runs: Iterable[RunDir]) -> list[Entry]:
    """The entries of these runs, in their order."""
    return [_entry(run, _known(run, None, *_signs(run))) for run in runs]


def _signs(run: RunDir) -> tuple[Sign, Sign]:
    return _sign(f"{run.path}/spec.json"), _sign(f"{run.path}/status.json")


def _names(root: Path) -> list[str]:
    try:
        return [name for name in os.listdir(root) if not name.startswith(".")]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise LabError(f"{root} cannot be read: {error.strerror}; set LABRUN_HOME") from error


def _sign(path: str) -> Sign:
    try:
        facts = os.stat(path)
    except OSError:
        return NOTHING
    return facts.st_mtime_ns, facts.st_size, facts.st_ino


def _known(run: RunDir, before: Known | None, spec: Sign, status: Sign) -> Known:
    """What is known of the run: as before where its files are unchanged, else read anew."""
    if before and before.spec == spec and before.status == status:
        return before
    if before and before.spec == spec:
        created, group, uri = before.created, before.group, before.uri
    else:
        created, group, uri = _spec(run)
    recorded = run.recorded_status()
    sealed = recorded.sealed.bytes if recorded.sealed else None
    return Known(spec, status, created, group, uri, recorded.state, recorded.step, sealed)


def _spec(run: RunDir) -> tuple[float, str | None, str]:
    """When the run was created, its group and its tracking URI.

    A spec whose hash holds was written by labrun; any other is checked as a whole.
    """
    try:
        spec = json.loads((run.path / "spec.json").read_bytes())
        settings = spec["experiment"]["run"]
        created, group, uri = spec["created"], settings["group"], settings["tracking"]["uri"]
        sound = run_dir._hash(spec["experiment"]) == spec["config_hash"]
        if sound and 0 <= created < run_dir.LATEST:
            return float(created), str(group), str(uri)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        pass
    return run.created(), group_of(run), ""


def _entry(run: RunDir, known: Known) -> Entry:
    size = _sign(f"{run.path}/events.jsonl")[1]
    state, step = known.state, known.step
    if state not in ENDED or (state == "done" and known.sealed not in (None, size)):
        now = run.status()
        state, step = now.state, now.step
    signs = (size, known.status[0])
    return Entry(run, known.created, known.group, known.uri, state, step, signs)


def _read(path: Path) -> dict[str, Known]:
    try:
        read = json.loads(path.read_bytes())
        if read["version"] != VERSION:
            return {}
        return {name: _from_row(row) for name, row in read["runs"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _from_row(row: Sequence[Any]) -> Known:
    spec, status, *rest = row
    return Known(tuple(spec), tuple(status), *rest)


def _write(path: Path, known: dict[str, Known]) -> None:
    """Keep the index; where it cannot be kept the next command reads the runs again."""
    draft = path.with_name(f"{FILE}.{os.getpid()}")
    rows = {name: list(asdict(one).values()) for name, one in known.items()}
    with contextlib.suppress(OSError):
        draft.write_text(json.dumps({"version": VERSION, "runs": rows}))
        os.replace(draft, path)

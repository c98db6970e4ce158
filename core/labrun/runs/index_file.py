"""The file .index.json: what the files of each run say to the lists of runs.

It lies in LABRUN_HOME. It is never the truth: what it says of a run counts only
while the files that it was read from are unchanged, and it may be deleted at any time.
"""

import contextlib
import functools
import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from labrun.runs import notes
from labrun.runs.run_dir import LATEST, RunDir, Status, group_of, hash_of, is_run, names
from labrun.runs.run_status import ENDED
from labrun.runs.seals import DamagedError
from labrun.system import regular_files
from labrun.system.json_files import parsed

VERSION = 4
FILE = ".index.json"
WORTH_WRITING = 16
"""Runs that were read anew, from which on the index is written."""
HOLDER = ("process", "pid", "host", "devices", "started")

Sign = list[int]
"""Time, size and inode of a file; zeros where there is none."""
NOTHING: Sign = [0, 0, 0]


class Spec(NamedTuple):
    """What spec.json says; `group` is None where it cannot be read. `facts`: plugin, seed,
    launcher, the parent if there is one, and the chosen presets, by name."""

    sign: Sign
    created: float
    group: str | None
    uri: str
    facts: dict[str, Any]


class Recorded(NamedTuple):
    """What status.json says; `sealed` is the size of events.jsonl that the run's end sealed.

    `holder` says who has a run that has not ended: the fields of HOLDER, by name.
    """

    sign: Sign
    state: str
    step: int
    sealed: int | None
    holder: Mapping[str, Any] = MappingProxyType({})

    def status(self) -> Status:
        """The status as far as the lists of runs need it."""
        holder: dict[str, Any] = {**self.holder, "devices": tuple(self.holder.get("devices", ()))}
        return Status(state=self.state, step=self.step, **holder)


class Noted(NamedTuple):
    """What notes.json says without the note; `fault` is what is wrong with it."""

    sign: Sign
    name: str
    tags: tuple[str, ...]
    archived: bool
    fault: str


class Known(NamedTuple):
    """What the files of one run say; None of a file that was not looked at."""

    spec: Spec
    recorded: Recorded | None
    noted: Noted | None


def sign_of(path: str) -> Sign:
    """What changes with the file."""
    try:
        facts = os.stat(path)
    except OSError:
        return NOTHING
    return [facts.st_mtime_ns, facts.st_size, facts.st_ino]


def specs(root: Path, before: Mapping[str, Known], *, group: str | None = None) -> dict[str, Spec]:
    """Name -> spec of every run under `root`.

    Of a `group`: runs known to be of another are not looked at, since a spec never changes.
    """
    specs, place = {}, str(root)
    for name in names(root):
        known = before.get(name)
        if group is not None and known and known.spec.group not in (None, group):
            specs[name] = known.spec
            continue
        sign = sign_of(f"{place}/{name}/spec.json")
        if known and known.spec.sign == sign != NOTHING:
            specs[name] = known.spec
        elif sign != NOTHING or is_run(root / name):
            specs[name] = spec_of(f"{place}/{name}")
    return specs


def spec_of(path: str) -> Spec:
    """What the run's spec says; if its hash does not hold, the whole spec is checked."""
    sign = sign_of(f"{path}/spec.json")
    try:
        spec = parsed(regular_files.content(f"{path}/spec.json"))
        settings = spec["experiment"]["run"]
        created, group, uri = spec["created"], settings["group"], settings["tracking"]["uri"]
        sound = hash_of(spec["experiment"]) == spec["config_hash"]
        if sound and 0 <= created < LATEST:
            return Spec(sign, float(created), str(group), str(uri), _facts(spec["experiment"]))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        pass
    run = RunDir(Path(path))
    return Spec(sign, run.created(), group_of(run), "", {})


def _facts(experiment: Mapping[str, Any]) -> dict[str, Any]:
    run = experiment["run"]
    named = {"plugin": experiment["plugin"], "seed": run["seed"]}
    if parent := experiment.get("parent"):
        named["parent"] = parent["run"]
    return {**experiment["choices"], **named, "launcher": run.get("launcher", "local")}


def noted(path: str, before: Known | None) -> Noted:
    """What the run's notes say; of an unchanged file, what was known before."""
    sign = sign_of(f"{path}/{notes.FILE}")
    known = before.noted if before else None
    if known and known.sign == sign:
        return known
    if sign == NOTHING:
        return Noted(sign, "", (), False, "")
    try:
        said = notes.read(Path(path))
    except DamagedError as error:
        return Noted(sign, "", (), False, str(error))
    return Noted(sign, said.name, said.tags, said.archived, "")


def recorded(path: str, before: Known | None) -> Recorded:
    """What the run's status says; of an unchanged file, what was known before."""
    sign = sign_of(f"{path}/status.json")
    known = before.recorded if before else None
    if known and known.sign == sign:
        return known
    status = RunDir(Path(path)).recorded_status()
    sealed = status.sealed.bytes if status.sealed else None
    holder = {name: getattr(status, name) for name in HOLDER if status.state not in ENDED}
    return Recorded(sign, status.state, status.step, sealed, holder)


def read(path: Path) -> Mapping[str, Known]:
    """Name of a run -> what was known of it; empty where there is no index that can be read."""
    return _read(path, tuple(sign_of(str(path))))


@functools.lru_cache(maxsize=1)
def _read(path: Path, sign: tuple[int, ...]) -> Mapping[str, Known]:
    """What the index said when it had this sign; one command asks several times."""
    try:
        said = json.loads(regular_files.content(path))
        if said["version"] != VERSION:
            return {}
        return {
            name: Known(
                Spec(*spec),
                Recorded(*recorded) if recorded else None,
                Noted(*noted) if noted else None,
            )
            for name, (spec, recorded, noted) in said["runs"].items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}


def keep(path: Path, before: Mapping[str, Known], now: Mapping[str, Known]) -> None:
    """Write the index where enough of it is new; without it the runs are read again."""
    num_new = sum(before.get(name) != known for name, known in now.items())
    if max(num_new, len(before) - len(now)) < WORTH_WRITING:
        return
    draft = path.with_name(f"{FILE}.{os.getpid()}")
    with contextlib.suppress(OSError):
        draft.write_text(json.dumps({"version": VERSION, "runs": now}))
        os.replace(draft, path)

"""Where a run resumes: the newest whole checkpoint whose events are whole too."""

import functools
import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from labrun.runs import checkpoints, seals
from labrun.runs.events import RESTART, event_line, parse_event
from labrun.runs.run_dir import EVENTS, RunDir
from labrun.runs.seals import DamagedError, Seal


@dataclass(frozen=True)
class ResumePoint:
    """A checkpoint's folder, None for step 0, and what is damaged beside it."""

    path: Path | None
    damage: list[str] = field(default_factory=list)

    @property
    def events(self) -> Seal | None:
        """The seal of the events up to here; None where the checkpoint has none."""
        return checkpoints.events_of(self.path) if self.path else None


def find(run: RunDir, passed_over: Mapping[str, str] = MappingProxyType({})) -> ResumePoint:
    """Where the run goes on; `passed_over`: names of checkpoints that could not be loaded, and why.

    Raises DamagedError where every checkpoint is damaged, or there was one and is none any more.
    """
    fault = functools.partial(_fault, run, passed_over)
    path, damage = checkpoints.newest(run.checkpoints, fault)
    if path is None and damage:
        raise checkpoints.none_left(run.checkpoints, damage)
    if path is None and (step := _last_known(run)) is not None:
        raise DamagedError(
            f"the checkpoints of run {run.id} are gone, and there was one at step {step}; "
            f"put them back into {run.checkpoints}, or `lab resume --restart` begins again at "
            "step 0"
        )
    return ResumePoint(path, damage)


def _fault(run: RunDir, passed_over: Mapping[str, str], path: Path) -> str | None:
    if path.name in passed_over:
        return passed_over[path.name]
    if fault := checkpoints.fault_of(path):
        return fault
    seal = checkpoints.events_of(path) or run.recorded_status().sealed
    events = run.path / EVENTS
    if seal is not None and not seals.that_hold(events, [seal]):
        return f"{events} is damaged before step {checkpoints.step_of(path)}"
    return None


def _last_known(run: RunDir) -> int | None:
    """The step of the last checkpoint that the events name; None if they name none."""
    known = None
    for event in run.current_events(check=False):
        if event["kind"] == "checkpoint":
            known = event.get("step")
        elif event["kind"] == "attempt":
            known = event["resumed_from"]
    return known


def mend_events(run: RunDir, seal: Seal | None) -> str | None:
    """Leave only whole lines in events.jsonl; returns the fault, if more than the end was cut.

    A file that is damaged behind the checkpoint's `seal` (None: from the start) is kept aside, and
    goes on from there.
    """
    path = run.path / EVENTS
    if not path.exists():
        return _go_back(run, seal) if run.recorded_status().sealed else None
    if (fault := _fault_behind(run, seal)) is not None:
        aside = _put_aside(path)
        _go_back(run, seal)
        return f"{fault}; it is kept as {aside.name}"
    _cut_half_line(path)
    return None


def _fault_behind(run: RunDir, seal: Seal | None) -> str | None:
    """What is wrong with the events after the checkpoint's seal."""
    path, sealed = run.path / EVENTS, run.recorded_status().sealed
    if sealed is not None and not seals.that_hold(path, [sealed]):
        return f"{path} is damaged"
    if not path.is_file():
        return f"{path} is no file"
    if seal is None:
        return None
    with open(path, "rb") as lines:
        lines.seek(seal.bytes)
        whole = [line for line in lines if line.endswith(b"\n")]
    events = [parse_event(line) for line in whole]
    if None in events:
        return f"{path} has a damaged line"
    inner = [read for event in events if (read := _seal_in(event)) is not None]
    if len(seals.that_hold(path, inner)) < len(set(inner)):
        return f"{path} is damaged"
    return None


def _seal_in(event: dict | None) -> Seal | None:
    """The seal in an `evaluated` event: of all lines before it."""
    try:
        return seals.read_seal((event or {}).get("sealed"))
    except ValueError:
        return None


def _go_back(run: RunDir, seal: Seal | None) -> str | None:
    """Cut the events to the seal; status.json first, so that no reader takes it for damage."""
    run.write_status(sealed=seal)
    path = run.path / EVENTS
    if path.exists():
        os.truncate(path, seal.bytes if seal else 0)
    return f"{path} was missing"


def _put_aside(path: Path) -> Path:
    """Keep what lies there under another name; a file is copied, so that readers lose nothing."""
    aside = path.with_name(f"{path.name}.damaged-{int(time.time())}")
    if path.is_file():
        shutil.copyfile(path, aside)
    else:
        path.rename(aside)
    return aside


def _cut_half_line(path: Path) -> None:
    """Mend a line that a crash cut off."""
    text = path.read_bytes()
    if text and not text.endswith(b"\n"):
        os.truncate(path, text.rfind(b"\n") + 1)


def restart(run: RunDir) -> None:
    """Put the run's checkpoints aside, so that it begins at step 0; nothing is deleted."""
    now = int(time.time())
    if os.path.lexists(run.checkpoints):
        run.checkpoints.rename(run.path / f"checkpoints.aside-{now}")
    run.checkpoints.mkdir()
    path = run.path / EVENTS
    if path.exists() and run.events_fault() is not None:
        path.rename(run.path / f"{EVENTS}.aside-{now}")
    run.write_status(sealed=None)
    with open(path, "ab+") as lines:
        if lines.tell() > 0:
            lines.seek(-1, os.SEEK_END)
            lines.write(b"" if lines.read(1) == b"\n" else b"\n")
        lines.write(event_line({"time": time.time(), "kind": RESTART}).encode())

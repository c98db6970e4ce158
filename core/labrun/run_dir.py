"""The run directory, which is the truth about a run; everything else can be rebuilt from it."""

import dataclasses
import fcntl
import functools
import hashlib
import itertools
import json
import os
import re
import secrets
import shutil
import socket
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
from pydantic import TypeAdapter, ValidationError

from labrun import checkpoints, processes
from labrun.contract import Score
from labrun.errors import LabError, shown, unknown
from labrun.events import event_line, holding, parse_event
from labrun.json_files import read_object, reason, write_json
from labrun.paths import component
from labrun.plain import to_plain
from labrun.run_config import Experiment
from labrun.seals import DamagedError, Seal, sealed_lines, size_fault
from labrun.signs import last_step

__all__ = ["event_line", "parse_event", "write_json"]

SPEC_VERSION = 1
LONGEST_NAME = 255
RUN_NAME = re.compile(r"-s\d+-\d{8}-\d{6}-[0-9a-f]{4}$")
PROGRESS = "progress.json"
EVENTS = "events.jsonl"
LATEST = 2**33
"""No run is created later, seconds since the epoch."""
SILENCE_S = 900.0
"""Silence after which a run on another host reads as killed."""
ENDED = ("done", "failed", "diverged", "preempted", "hung", "killed", "refused")
STATES = ("queued", "running", *ENDED, "unreadable")
"""What status.json may say; a run whose events were cut reads as `damaged`."""


def home() -> Path:
    """Where runs lie: LABRUN_HOME, or ./runs."""
    return Path(os.environ.get("LABRUN_HOME") or "runs").absolute()


@dataclasses.dataclass(frozen=True)
class Status:
    """The state of a run; `step` is the last logged one, `message` says why it ended."""

    state: str = "queued"
    attempt: int = 0
    exit_code: int | None = None
    step: int = 0
    message: str = ""
    pid: int | None = None
    host: str = ""
    devices: tuple[str, ...] = ()
    started: float | None = None
    ended: float | None = None
    sealed: Seal | None = None
    """Of events.jsonl, when this attempt or one before it ended."""
    process: str = ""
    """Identity of the process that has the run now: the worker, or the command while it waits."""


@dataclasses.dataclass(frozen=True)
class RunDir:
    """`<home>/<run_id>/` with spec.json, provenance.json, status.json and events.jsonl."""

    path: Path

    @property
    def id(self) -> str:
        return self.path.name

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def artifacts(self) -> Path:
        return self.path / "artifacts"

    def experiment(self) -> Experiment:
        """The frozen experiment. Raises LabError where spec.json is missing or altered."""
        path = self.path / "spec.json"
        try:
            spec = read_object(path)
            frozen = spec["experiment"]
            experiment = _experiment_type().validate_json(json.dumps(frozen))
            expected = spec["config_hash"]
        except LabError as error:
            raise DamagedError(str(error)) from error
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DamagedError(f"{path} cannot be read: {reason(error)}") from error
        if _hash(frozen) != expected:
            raise DamagedError(f"{path} was edited; start a new run instead")
        return experiment

    def created(self) -> float:
        """Seconds since the epoch; of a damaged spec, the age of its file."""
        spec = self.path / "spec.json"
        try:
            created = float(read_object(spec)["created"])
            if 0 <= created < LATEST:
                return created
        except (OSError, LabError, ValueError, KeyError, TypeError):
            pass
        return max(map(_changed, (spec, self.path)))

    def status(self) -> Status:
        """The status; a run whose process is gone without a word reads as killed, as does one that
        waits for a command that is gone; a done one whose events were cut reads as damaged."""
        status = self.recorded_status()
        if status.state == "done" and status.sealed:
            fault = size_fault(self.path / EVENTS, status.sealed, whole=True)
            return dataclasses.replace(status, state="damaged", message=fault) if fault else status
        gone = self._gone(status)
        if not gone:
            return status
        step = max(status.step, last_step(self.path))
        return dataclasses.replace(status, state="killed", message=gone, step=step)

    def _gone(self, status: Status) -> str:
        """Who is gone that has the run, as its message; empty where nobody is."""
        if status.state == "queued":
            return "" if self._is_awaited(status) else "its command is gone; nobody will start it"
        if status.state != "running":
            return ""
        if status.host == socket.gethostname():
            return "" if _alive(status) else "its process is gone"
        silence = time.time() - self.last_sign()
        return f"no sign of life from {status.host}" if silence > SILENCE_S else ""

    def _is_awaited(self, status: Status) -> bool:
        """Whether a command still means to start this queued run; true where nothing is known."""
        if status.process:
            return status.host != socket.gethostname() or processes.is_alive(status.process)
        return not _is_free(self.path / ".lock")

    def recorded_status(self) -> Status:
        """status.json as it stands, `unreadable` where it is damaged."""
        path = self.path / "status.json"
        try:
            return _status_of(read_object(path))
        except FileNotFoundError:
            return Status()
        except LabError as error:
            return Status(state="unreadable", message=str(error))
        except ValueError as error:
            return Status(state="unreadable", message=f"{path} is damaged: {error}")

    def data_fingerprint(self) -> str | None:
        """The fingerprint of the data that the run read; None where it recorded none.

        Raises DamagedError where data.json is damaged.
        """
        path = self.path / "data.json"
        try:
            fingerprint = read_object(path).get("fingerprint")
        except FileNotFoundError:
            return None
        except LabError as error:
            raise DamagedError(str(error)) from error
        if not isinstance(fingerprint, str):
            raise DamagedError(f"{path} is damaged: it holds no fingerprint")
        return fingerprint

    def progress(self) -> dict[str, Any]:
        """Where the run last said that it stands: `stage`, `step`, `total` and whether it is
        `stopping`, as far as known."""
        try:
            said = read_object(self.path / PROGRESS)
        except (FileNotFoundError, LabError):
            return {}
        kinds = {"stage": str, "step": int, "total": int, "stopping": bool}
        return {key: said[key] for key, kind in kinds.items() if isinstance(said.get(key), kind)}

    def last_sign(self) -> float:
        """When the run last wrote an event or its progress, seconds since the epoch."""
        return max(_changed(self.path / name) for name in ("spec.json", EVENTS, PROGRESS))

    def claim(self) -> int:
        """An open handle that holds the run alone, and frees it when its last holder is gone.

        Raises LabError where another process has it, or the lock cannot be opened.
        """
        path = self.path / ".lock"
        try:
            handle = os.open(path, os.O_CREAT | os.O_RDWR)
        except OSError as error:
            raise DamagedError(f"{path} cannot be locked: {reason(error)}; remove it") from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            who = "; ".join(processes.holders(path)) or "of another user"
            raise LabError(
                f"run {self.id} is in the hands of another `lab` process: {who}; stop it first"
            ) from None
        return handle

    def write_status(self, **changes: Any) -> Status:
        """Replace status.json atomically with these fields changed."""
        status = dataclasses.replace(self.recorded_status(), **changes)
        write_json(self.path / "status.json", dataclasses.asdict(status))
        return status

    def events(self, *, check: bool = True) -> Iterator[dict[str, Any]]:
        """Every whole line of events.jsonl; a line cut off by a crash is passed over.

        Raises DamagedError behind the last one where they are not what was sealed at the run's
        end, unless `check` is false.
        """
        status = self.recorded_status() if check else Status()
        whole = status.state == "done"
        lines = sealed_lines(self.path / EVENTS, status.sealed, whole=whole)
        yield from filter(None, map(parse_event, lines))

    def events_fault(self) -> str | None:
        """What is wrong with events.jsonl, which is read for it; None where nothing is known."""
        status = self.recorded_status()
        lines = sealed_lines(self.path / EVENTS, status.sealed, whole=status.state == "done")
        try:
            for _ in lines if status.sealed else itertools.islice(lines, 1):
                pass
        except DamagedError as error:
            return str(error)
        return None

    def series(self) -> dict[str, dict[int, float]]:
        """Metric -> step -> value. Steps that a later attempt replayed have its value."""
        series: dict[str, dict[int, float]] = {}
        for event in self.current_events():
            if event["kind"] == "metrics":
                for name, value in event["metrics"].items():
                    series.setdefault(name, {})[event["step"]] = value
        return series

    def scores(self) -> dict[tuple[str, str], dict[int, Score]]:
        """(task, metric) -> step -> score."""
        scores: dict[tuple[str, str], dict[int, Score]] = {}
        for event in self.current_events():
            if event["kind"] == "score":
                score = Score(**event["score"])
                scores.setdefault((score.task, score.metric), {})[event["step"]] = score
        return scores

    def current_events(self, *, check: bool = True) -> list[dict[str, Any]]:
        """The events that hold: those of earlier attempts only up to where the next one resumed."""
        return holding(self.events(check=check))


@functools.cache
def _experiment_type() -> TypeAdapter[Experiment]:
    return TypeAdapter(Experiment)


@functools.cache
def _status_type() -> TypeAdapter[Status]:
    return TypeAdapter(Status)


def _status_of(said: dict[str, Any]) -> Status:
    """The status that the file says. Raises ValueError with the name of what is wrong in it."""
    if missing := [key for key in ("state", "devices") if key not in said]:
        raise ValueError(f"{missing[0]} is missing")
    if said["state"] not in STATES:
        raise ValueError(f"state is {shown(str(said['state']))!r}")
    try:
        return _status_type().validate_python(said)
    except ValidationError as error:
        raise ValueError(f"{error.errors()[0]['loc'][0]} is of a wrong kind") from error


def _changed(path: Path) -> float:
    """When the file was last written; 0 where it is not to be seen."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _is_free(lock: Path) -> bool:
    """Whether the lock was taken once and is not held now."""
    try:
        with open(lock, "rb") as held:
            fcntl.flock(held, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _alive(status: Status) -> bool:
    if status.process:
        return processes.is_alive(status.process)
    try:
        process = psutil.Process(status.pid)
        return process.status() != psutil.STATUS_ZOMBIE and (
            status.started is None or process.create_time() < status.started + 1
        )
    except psutil.Error:
        return False


def create(experiment: Experiment, *, root: Path, status: Status | None = None) -> RunDir:
    """A new run directory, complete when it appears under its name."""
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LabError(f"cannot make {root}: {error.strerror}; set LABRUN_HOME") from error
    stamp = time.strftime("%Y%m%d-%H%M%S")
    method = experiment.choices.get("method", "run")
    kind = component(f"{experiment.plugin}-{method}")
    name = f"{kind}-s{experiment.run.seed}-{stamp}-{secrets.token_hex(2)}"
    draft = root / f".new-{name}"
    spec = {
        "version": SPEC_VERSION,
        "created": time.time(),
        "config_hash": config_hash(experiment),
        "experiment": to_plain(experiment),
    }
    try:
        (draft / "artifacts").mkdir(parents=True)
        (draft / "checkpoints").mkdir()
        write_json(draft / "spec.json", spec)
        write_json(draft / "status.json", dataclasses.asdict(status or Status()))
        os.rename(draft, root / name)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return RunDir(root / name)


def config_hash(experiment: Experiment) -> str:
    """SHA-256 of the whole configuration, 12 hex digits."""
    return _hash(to_plain(experiment))


def _hash(plain: object) -> str:
    text = json.dumps(plain, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def all_runs(root: Path) -> list[RunDir]:
    """Every run under `root`, oldest first. Raises LabError where `root` cannot be read."""
    try:
        names = os.listdir(root)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise LabError(f"cannot read {root}: {reason(error)}; set LABRUN_HOME") from error
    runs = [RunDir(root / name) for name in names if name[0] != "." and _is_run(root / name)]
    return sorted(runs, key=lambda run: (run.created(), run.id))


def _is_run(path: Path) -> bool:
    """Whether the folder holds a run; one that may not be looked into does by its name."""
    try:
        return _lies_at(path / "spec.json") or (
            _lies_at(path / "status.json") and _lies_at(path / "checkpoints")
        )
    except PermissionError:
        return bool(RUN_NAME.search(path.name))


def _lies_at(path: Path) -> bool:
    """Whether anything lies there, also a link that leads nowhere. Raises PermissionError."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def find(name: str, root: Path) -> RunDir:
    """The run with this id, an unambiguous beginning of it, or its path; `last` is the newest."""
    for path in (root / name, Path(name)):
        if len(name) < LONGEST_NAME and os.path.lexists(path / "spec.json"):
            return RunDir(path.absolute())
    runs = all_runs(root)
    if name == "last" and runs:
        return runs[-1]
    matches = [run for run in runs if run.id == name] or [r for r in runs if r.id.startswith(name)]
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise LabError(f"run {name!r} could be {', '.join(run.id for run in matches)}")
    if not runs:
        raise LabError(f"no run {name!r}: there are none in {root}; `lab run plugin=...` makes one")
    raise unknown("run", name, [run.id for run in runs])


def not_resumable(run: RunDir, state: str) -> LabError:
    hint = "`lab runs show` has its results" if state == "done" else "stop it first"
    return LabError(f"run {run.id} is {state} and cannot be resumed; {hint}")


def select(names: Sequence[str], group: str | None, root: Path) -> list[RunDir]:
    """The runs named, else those of the group, else those of the newest run's group."""
    if names:
        return [find(name, root) for name in names]
    runs = all_runs(root)
    if not runs:
        raise LabError(f"there are no runs in {root}; `lab run plugin=...` makes one")
    groups = {run.id: group_of(run) for run in runs}
    known = [name for name in groups.values() if name is not None]
    wanted = group or (known[-1] if known else "")
    if wanted not in known:
        raise unknown("group", wanted, set(known))
    return [run for run in runs if groups[run.id] == wanted]


def has_checkpoint(run: RunDir) -> bool:
    """Whether there is a checkpoint to go on from."""
    try:
        return bool(checkpoints.folders(run.checkpoints))
    except LabError:
        return False


def group_of(run: RunDir) -> str | None:
    """The run's group; None where its spec cannot be read, so that one bad run hides no other."""
    try:
        return run.experiment().run.group
    except LabError:
        return None


def members(group: str, root: Path) -> list[RunDir]:
    """Every run of this group under `root`, oldest first; one whose spec cannot be read is none."""
    words = json.dumps(group)[1:-1]
    return [run for run in all_runs(root) if _mentions(run, words) and group_of(run) == group]


def _mentions(run: RunDir, words: str) -> bool:
    """Whether the spec's text holds the words; a quick look before it is checked as a whole."""
    try:
        return words in (run.path / "spec.json").read_text(errors="replace")
    except OSError:
        return False

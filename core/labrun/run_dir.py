"""The run directory, which is the truth about a run; everything else can be rebuilt from it."""

import dataclasses
import fcntl
import hashlib
import json
import math
import os
import secrets
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
from pydantic import TypeAdapter

from labrun.config import to_plain
from labrun.contract import Score
from labrun.errors import LabError, unknown
from labrun.paths import component
from labrun.run_config import Experiment

SPEC_VERSION = 1
LONGEST_NAME = 255
PROGRESS = "progress.json"
SILENCE_S = 900.0
"""Silence after which a run on another host reads as killed."""
EVENT_KEYS = {
    "metrics": ("step", "metrics"),
    "score": ("step", "score"),
    "attempt": ("attempt", "resumed_from"),
}
NOT_FINITE: Mapping[Any, float] = {
    "NaN": math.nan,
    "Infinity": math.inf,
    "-Infinity": -math.inf,
}
ENDED = ("done", "failed", "diverged", "preempted", "hung", "killed", "refused")


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
        try:
            spec = json.loads((self.path / "spec.json").read_text())
            frozen = spec["experiment"]
            experiment = TypeAdapter(Experiment).validate_json(json.dumps(frozen))
            expected = spec["config_hash"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            reason = str(error).splitlines()[0]
            raise LabError(f"{self.path / 'spec.json'} cannot be read: {reason}") from error
        if _hash(frozen) != expected:
            raise LabError(f"{self.path / 'spec.json'} was edited; start a new run instead")
        return experiment

    def created(self) -> float:
        """Seconds since the epoch; of a damaged spec, the age of its file."""
        spec = self.path / "spec.json"
        try:
            return float(json.loads(spec.read_text())["created"])
        except (OSError, ValueError, KeyError, TypeError):
            return spec.stat().st_mtime

    def status(self) -> Status:
        """The status; a run whose process is gone without a word reads as killed."""
        status = self.recorded_status()
        if status.state != "running":
            return status
        if status.host == socket.gethostname():
            gone = None if _alive(status) else "its process is gone"
        else:
            silence = time.time() - self.last_sign()
            gone = f"no sign of life from {status.host}" if silence > SILENCE_S else None
        return dataclasses.replace(status, state="killed", message=gone) if gone else status

    def recorded_status(self) -> Status:
        """status.json as it stands, `unreadable` where it is damaged."""
        try:
            read = json.loads((self.path / "status.json").read_text())
            return Status(**{**read, "devices": tuple(read["devices"])})
        except FileNotFoundError:
            return Status()
        except (ValueError, KeyError, TypeError):
            return Status(state="unreadable", message="status.json is damaged")

    def data_fingerprint(self) -> str | None:
        """The fingerprint of the data that the run read; None where it recorded none."""
        try:
            return str(json.loads((self.path / "data.json").read_text())["fingerprint"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def last_sign(self) -> float:
        """When the run last wrote an event or its progress, seconds since the epoch."""
        paths = [self.path / name for name in ("spec.json", "events.jsonl", PROGRESS)]
        return max(path.stat().st_mtime for path in paths if path.exists())

    def claim(self) -> int:
        """An open handle that holds the run alone, and frees it when its last holder is gone.

        Raises LabError where another process has it.
        """
        handle = os.open(self.path / ".lock", os.O_CREAT | os.O_RDWR)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            raise LabError(f"run {self.id} is in the hands of another `lab` process") from None
        return handle

    def write_status(self, **changes: Any) -> Status:
        """Replace status.json atomically with these fields changed."""
        status = dataclasses.replace(self.recorded_status(), **changes)
        write_json(self.path / "status.json", dataclasses.asdict(status))
        return status

    def events(self) -> Iterator[dict[str, Any]]:
        """Every whole line of events.jsonl; a line cut off by a crash is passed over."""
        try:
            with open(self.path / "events.jsonl", "rb") as lines:
                yield from filter(None, map(parse_event, lines))
        except FileNotFoundError:
            return

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

    def current_events(self) -> list[dict[str, Any]]:
        """The events that hold: those of earlier attempts only up to where the next one resumed."""
        current: list[dict[str, Any]] = []
        for event in self.events():
            if event["kind"] == "attempt":
                start = event["resumed_from"]
                current = [e for e in current if start is not None and e.get("step", 0) <= start]
            current.append(event)
        return current


def event_line(event: Mapping[str, Any]) -> str:
    """The event as a line of events.jsonl: JSON, which has no word for a number that is not finite.

    Such a number among metrics or in a score stands as the string "NaN", "Infinity" or "-Infinity".
    """
    try:
        return json.dumps(event, allow_nan=False) + "\n"
    except ValueError:
        return json.dumps(_spelt_out(event), allow_nan=False) + "\n"


def _spelt_out(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return json.dumps(float(value))
    if isinstance(value, Mapping):
        return {key: _spelt_out(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_spelt_out(item) for item in value]
    return value


def parse_event(line: bytes) -> dict[str, Any] | None:
    """The event of one line of events.jsonl; None of a line that is damaged or cut off."""
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(event, dict):
        return None
    needed = ("time", *EVENT_KEYS.get(event.get("kind", ""), ("kind",)))
    if not all(key in event for key in needed):
        return None
    return _with_numbers(event) if b'"NaN"' in line or b'Infinity"' in line else event


def _with_numbers(event: dict[str, Any]) -> dict[str, Any]:
    """The event with the numbers that are not finite as numbers again."""
    if event["kind"] == "metrics":
        values = {name: NOT_FINITE.get(v, v) for name, v in event["metrics"].items()}
        return event | {"metrics": values}
    if event["kind"] == "score":
        score = event["score"]
        items = [NOT_FINITE.get(item, item) for item in score.get("items", ())]
        value = NOT_FINITE.get(score["value"], score["value"])
        return event | {"score": score | {"value": value, "items": items}}
    return event


def _alive(status: Status) -> bool:
    try:
        process = psutil.Process(status.pid)
        return process.status() != psutil.STATUS_ZOMBIE and (
            status.started is None or process.create_time() < status.started + 1
        )
    except psutil.Error:
        return False


def create(experiment: Experiment, *, root: Path) -> RunDir:
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
    (draft / "artifacts").mkdir(parents=True)
    (draft / "checkpoints").mkdir()
    spec = {
        "version": SPEC_VERSION,
        "created": time.time(),
        "config_hash": config_hash(experiment),
        "experiment": to_plain(experiment),
    }
    write_json(draft / "spec.json", spec)
    write_json(draft / "status.json", dataclasses.asdict(Status()))
    os.rename(draft, root / name)
    return RunDir(root / name)


def config_hash(experiment: Experiment) -> str:
    """SHA-256 of the whole configuration, 12 hex digits."""
    return _hash(to_plain(experiment))


def _hash(plain: object) -> str:
    text = json.dumps(plain, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def all_runs(root: Path) -> list[RunDir]:
    """Every run under `root`, oldest first."""
    found = [RunDir(spec.parent) for spec in root.glob("*/spec.json") if spec.parent.name[0] != "."]
    return sorted(found, key=lambda run: (run.created(), run.id))


def find(name: str, root: Path) -> RunDir:
    """The run with this id, an unambiguous beginning of it, or its path; `last` is the newest."""
    for path in (root / name, Path(name)):
        if len(name) < LONGEST_NAME and (path / "spec.json").exists():
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
    return any(run.checkpoints.glob("[0-9]*"))


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


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write the file whole or not at all, and on disk before it returns."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with open(draft, "w") as out:
        json.dump(value, out, indent=1)
        out.flush()
        os.fsync(out.fileno())
    os.replace(draft, path)

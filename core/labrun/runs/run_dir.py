"""The run directory, which is the truth about a run; everything else can be rebuilt from it."""

import dataclasses
import fcntl
import hashlib
import itertools
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from labrun.errors import LabError
from labrun.experiment import Experiment
from labrun.plain import to_plain
from labrun.runs import checkpoints, run_status
from labrun.runs.events import event_line, holding, parse_event
from labrun.runs.run_status import ENDED, SILENCE_S, STATES, Status
from labrun.runs.seals import DamagedError, sealed_lines, size_fault
from labrun.runs.signs import EVENTS, PROGRESS, last_step
from labrun.schema import adapter
from labrun.score import Score
from labrun.system import processes
from labrun.system.home import lockless
from labrun.system.json_files import read_object, reason, write_json
from labrun.system.paths import component

__all__ = [
    "ENDED",
    "EVENTS",
    "PROGRESS",
    "SILENCE_S",
    "STATES",
    "RunDir",
    "Status",
    "event_line",
    "parse_event",
    "write_json",
]

SPEC_VERSION = 1
RUN_NAME = re.compile(r"-s\d+-\d{8}-\d{6}-[0-9a-f]{4}$")
LATEST = 2**33
"""No run is created later, seconds since the epoch."""
DRAFT = ".new-"
TRIES = 100
"""Names that are tried for a new run: a sweep makes hundreds in a second."""


def home() -> Path:
    """Where runs lie: LABRUN_HOME, or ./runs."""
    return Path(os.environ.get("LABRUN_HOME") or "runs").absolute()


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
            experiment = adapter(Experiment).validate_json(json.dumps(frozen))
            expected = spec["config_hash"]
        except LabError as error:
            raise DamagedError(str(error)) from error
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DamagedError(f"{path} cannot be read: {reason(error)}") from error
        if hash_of(frozen) != expected:
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
        return max(map(run_status.changed, (spec, self.path)))

    def status(self) -> Status:
        """The status; a run whose process is gone without a word reads as killed, as does one that
        waits for a command that is gone; a done one whose events were cut reads as damaged."""
        status = self.recorded_status()
        if status.state == "done" and status.sealed:
            fault = size_fault(self.path / EVENTS, status.sealed, whole=True)
            return dataclasses.replace(status, state="damaged", message=fault) if fault else status
        gone = run_status.gone(self.path, status)
        if not gone:
            return status
        step = max(status.step, last_step(self.path))
        return dataclasses.replace(status, state="killed", message=gone, step=step)

    def recorded_status(self) -> Status:
        """The content of status.json; `unreadable` if it is damaged."""
        return run_status.recorded(self.path / "status.json")

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

    def seconds_left(self) -> float | None:
        """The time to the end of the run's present stage, at its speed so far; None where that is
        not known."""
        try:
            said = read_object(self.path / PROGRESS)
            first, began = said["since"]
            done, left = said["step"] - first, said["total"] - said["step"]
            return (said["time"] - began) * left / done if done > 0 < left else None
        except (OSError, LabError, KeyError, TypeError, ValueError):
            return None

    def last_sign(self) -> float:
        """When the run last wrote an event or its progress, seconds since the epoch."""
        return run_status.last_sign(self.path)

    def claim(self) -> int:
        """An open handle that holds the run alone, and frees it when its last holder is gone.

        Raises LabError where another process has it, the lock cannot be opened, or the file system
        gives no locks.
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
        except OSError as error:
            os.close(handle)
            raise lockless(self.path, error) from error
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

    def series(self) -> Mapping[str, dict[int, float]]:
        """Metric -> step -> value. Steps that a later attempt replayed have its value."""
        return series_in(self.current_events())

    def scores(self) -> dict[tuple[str, str], dict[int, Score]]:
        """(task, metric) -> step -> score."""
        return scores_in(self.current_events())

    def seconds(self) -> dict[int, float]:
        """Step -> seconds that the run had taken when it logged or scored it."""
        return seconds_in(self.current_events())

    def current_events(self, *, check: bool = True) -> list[dict[str, Any]]:
        """The events that hold: those of earlier attempts only up to where the next one resumed."""
        return holding(self.events(check=check))


def series_in(events: Iterable[Mapping[str, Any]]) -> dict[str, dict[int, float]]:
    """Metric -> step -> value, of the events that hold."""
    series: dict[str, dict[int, float]] = {}
    for event in events:
        if event["kind"] == "metrics":
            step = event["step"]
            for name, value in event["metrics"].items():
                try:
                    series[name][step] = value
                except KeyError:
                    series[name] = {step: value}
    return series


def scores_in(events: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], dict[int, Score]]:
    """(task, metric) -> step -> score, of the events that hold."""
    scores: dict[tuple[str, str], dict[int, Score]] = {}
    for event in events:
        if event["kind"] == "score":
            score = Score(**event["score"])
            scores.setdefault((score.task, score.metric), {})[event["step"]] = score
    return scores


def seconds_in(events: Iterable[Mapping[str, Any]]) -> dict[int, float]:
    """Step -> seconds of the attempts until then, evaluation included, of the events that hold.

    What was computed twice after a crash counts once.
    """
    seconds: dict[int, float] = {}
    before, began = 0.0, None
    for event in events:
        if event["kind"] == "attempt":
            before, began = max(seconds.values(), default=0.0), event["time"]
        elif "step" in event:
            began = event["time"] if began is None else began
            seconds[event["step"]] = before + event["time"] - began
    return seconds


def create(
    experiment: Experiment,
    *,
    root: Path,
    status: Status | None = None,
    fill: Callable[[Path], object] | None = None,
) -> RunDir:
    """A new run directory, complete when it appears under its name; `fill` writes more into it."""
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LabError(f"cannot make {root}: {error.strerror}; set LABRUN_HOME") from error
    method = experiment.choices.get("method", "run")
    kind = component(f"{experiment.plugin}-{method}")
    draft = _draft(root, f"{kind}-s{experiment.run.seed}")
    path = root / draft.name.removeprefix(DRAFT)
    spec = {
        "version": SPEC_VERSION,
        "created": time.time(),
        "config_hash": config_hash(experiment),
        "experiment": frozen(experiment),
    }
    try:
        (draft / "artifacts").mkdir()
        (draft / "checkpoints").mkdir()
        write_json(draft / "spec.json", spec)
        write_json(draft / "status.json", dataclasses.asdict(status or Status()))
        if fill is not None:
            fill(draft)
        os.rename(draft, path)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return RunDir(path)


def _draft(root: Path, kind: str) -> Path:
    """A new folder with a hidden name; no run has the name without the prefix."""
    for _ in range(TRIES):
        name = f"{kind}-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
        draft = root / f"{DRAFT}{name}"
        try:
            draft.mkdir()
        except FileExistsError:
            continue
        if not os.path.lexists(root / name):
            return draft
        draft.rmdir()
    raise LabError(f"no free name for a run {kind} in {root} after {TRIES} tries; try again")


def config_hash(experiment: Experiment) -> str:
    """SHA-256 of the whole configuration, 12 hex digits."""
    return hash_of(frozen(experiment))


def frozen(experiment: Experiment) -> dict[str, Any]:
    """The experiment as spec.json holds it; `parent` and `defaults` only where there are any."""
    plain = to_plain(experiment)
    return {k: v for k, v in plain.items() if v or k not in ("parent", "defaults")}


def hash_of(plain: object) -> str:
    """The hash of a configuration as JSON-like values."""
    text = json.dumps(plain, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def names(root: Path) -> list[str]:
    """Everything in `root` that is not hidden. Raises LabError where it cannot be read."""
    try:
        return [name for name in os.listdir(root) if not name.startswith(".")]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise LabError(f"cannot read {root}: {reason(error)}; set LABRUN_HOME") from error


def all_runs(root: Path) -> list[RunDir]:
    """Every run under `root`, oldest first, as their files now say; `run_index` is faster.

    Raises LabError where `root` cannot be read.
    """
    runs = [RunDir(root / name) for name in names(root) if is_run(root / name)]
    return sorted(runs, key=lambda run: (run.created(), run.id))


def is_run(path: Path) -> bool:
    """Whether the folder holds a run; one that cannot be looked into does by its name."""
    try:
        return _lies_at(path / "spec.json") or (
            _lies_at(path / "status.json") and _lies_at(path / "checkpoints")
        )
    except OSError:
        return bool(RUN_NAME.search(path.name))


def _lies_at(path: Path) -> bool:
    """Whether anything lies there, also a link that leads nowhere. Raises OSError where it cannot
    be known."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def not_resumable(run: RunDir, state: str) -> LabError:
    hint = "`lab runs show` has its results" if state == "done" else "stop it first"
    return LabError(f"run {run.id} is {state} and cannot be resumed; {hint}")


def has_checkpoint(run: RunDir) -> bool:
    """Whether there is a checkpoint to go on from."""
    try:
        return bool(checkpoints.folders(run.checkpoints))
    except LabError:
        return False


def group_of(run: RunDir) -> str | None:
    """The run's group label; None if its spec cannot be read: one bad run hides no other."""
    try:
        return run.experiment().run.group
    except LabError:
        return None

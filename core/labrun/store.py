"""The results store: MLflow as a mirror of the run directories, rebuilt from them at any time."""

import json
import logging
import os
import re
import sqlite3
import sys
import threading
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock

from labrun.config import flat, to_plain
from labrun.errors import LabError
from labrun.run_dir import ENDED, RunDir, write_json

PICTURES = (".png", ".gif")
BATCH = 1000
SCHEMES = ("http://", "https://", "sqlite:///")
ANSWER_S = 60.0
"""How long the end of a command waits for the store."""
PARAM_LENGTH = 500
STATES = {"done": "FINISHED", "running": "RUNNING", "queued": "SCHEDULED", "preempted": "KILLED"}


def sqlite_uri(home: Path) -> str:
    return f"sqlite:///{home / 'mlflow.db'}"


def check_uri(uri: str) -> None:
    """Raise LabError for a tracking URI of a kind that MLflow does not serve here."""
    if uri and not uri.startswith(SCHEMES):
        raise LabError(f"tracking.uri={uri}: no such kind; allowed: {', '.join(SCHEMES)} or empty")


def is_sound(path: Path) -> bool:
    """False only where sqlite says that the file is damaged or no database."""
    if not path.exists():
        return True
    database = sqlite3.connect(path)
    try:
        return database.execute("pragma quick_check").fetchone()[0] == "ok"
    except sqlite3.DatabaseError as error:
        return error.sqlite_errorname not in ("SQLITE_NOTADB", "SQLITE_CORRUPT")
    finally:
        database.close()


def set_damaged_aside(home: Path) -> Path | None:
    """Move a store that sqlite cannot read out of the way; returns where it now lies."""
    path = home / "mlflow.db"
    if is_sound(path):
        return None
    aside = path.with_name(f"mlflow.db.damaged-{int(time.time())}")
    os.replace(path, aside)
    for name in ("mlflow.db-wal", "mlflow.db-shm"):
        (home / name).unlink(missing_ok=True)
    return aside


def ensure_sqlite(path: Path) -> None:
    """Create the store under a lock and a temporary name, so that no reader sees half of it."""
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock", timeout=300):
        if path.exists():
            return
        from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

        draft = path.with_name(f".{path.name}.{os.getpid()}")
        SqlAlchemyStore(f"sqlite:///{draft}", str(path.parent)).engine.dispose()
        database = sqlite3.connect(draft)
        database.execute("pragma journal_mode=wal")
        database.execute("pragma wal_checkpoint(truncate)")
        database.close()
        os.replace(draft, path)


@dataclass
class Mirror:
    """The one writer of its runs into one MLflow store. Mirroring twice changes nothing."""

    home: Path
    uri: str = ""
    _client: Any = field(default=None, repr=False)
    _experiments: dict[str, str] = field(default_factory=dict, repr=False)

    def update(self, run: RunDir, *, afresh: bool = False) -> None:
        """Bring the store up to the run directory's present content."""
        client = self._connect()
        mark = {} if afresh else self._mark(run)
        attempts = sum(event["kind"] == "attempt" for event in run.events())
        if mark and mark["attempts"] != attempts and mark["attempts"] > 0:
            mark = {}  # a later attempt replayed steps: the old points must go
        if not mark:
            self._drop(run)
            mark = {"run": self._create(run), "uri": self.where, "attempts": attempts, "step": -1}
        points = _points(run, after=mark["step"])
        for start in range(0, len(points), BATCH):
            client.log_batch(mark["run"], metrics=points[start : start + BATCH])
        status = run.status()
        client.update_run(mark["run"], status=STATES.get(status.state, "FAILED"))
        client.set_tag(mark["run"], "state", status.state)
        if status.state in ENDED:
            for figure in sorted(run.artifacts.rglob("*")):
                if figure.suffix in PICTURES:
                    client.log_artifact(mark["run"], str(figure))
        last = max((point.step for point in points), default=mark["step"])
        write_json(_mark_path(run), mark | {"step": last, "attempts": attempts})

    @property
    def where(self) -> str:
        return self.uri or sqlite_uri(self.home)

    def _connect(self) -> Any:
        if self._client is None:
            os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
            os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")
            os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
            os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
            logging.getLogger("alembic").setLevel(logging.ERROR)
            logging.getLogger("mlflow").setLevel(logging.ERROR)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # deprecations inside mlflow's own imports
                from mlflow import MlflowClient

                if not self.uri:
                    ensure_sqlite(self.home / "mlflow.db")
                self._client = MlflowClient(self.where)
        return self._client

    def _mark(self, run: RunDir) -> dict[str, Any]:
        try:
            mark = json.loads(_mark_path(run).read_text())
        except (FileNotFoundError, ValueError):
            return {}
        return mark if mark["uri"] == self.where and self._exists(mark["run"]) else {}

    def _exists(self, mlflow_id: str) -> bool:
        from mlflow.exceptions import MlflowException

        try:
            return self._client.get_run(mlflow_id).info.lifecycle_stage == "active"
        except MlflowException:
            return False

    def _drop(self, run: RunDir) -> None:
        where = f"tags.`labrun.id` = '{run.id}'"
        experiment = self._experiment(run.experiment().plugin)
        for old in self._client.search_runs([experiment], where):
            self._client.delete_run(old.info.run_id)

    def _create(self, run: RunDir) -> str:
        from mlflow.entities import Param, RunTag

        experiment = run.experiment()
        facts = {
            "plugin": experiment.plugin,
            "seed": str(experiment.run.seed),
            "group": experiment.run.group,
            **experiment.choices,
        }
        params = facts | dict(flat(experiment.settings)) | dict(flat(to_plain(experiment.run)))
        tags = facts | {"labrun.id": run.id, "labrun.directory": str(run.path)}
        made = self._client.create_run(
            self._experiment(experiment.plugin),
            run_name=run.id,
            start_time=int(run.created() * 1000),
        )
        self._client.log_batch(
            made.info.run_id,
            params=[Param(k, str(v)[:PARAM_LENGTH]) for k, v in params.items()],
            tags=[RunTag(k, str(v)) for k, v in tags.items()],
        )
        return made.info.run_id

    def _experiment(self, name: str) -> str:
        if name not in self._experiments:
            with FileLock(self.home / ".mlflow-experiments.lock", timeout=60):
                found = self._client.get_experiment_by_name(name)
                self._experiments[name] = found.experiment_id if found else self._new(name)
        return self._experiments[name]

    def _new(self, name: str) -> str:
        artifacts = None if self.uri else (self.home / "mlflow-artifacts" / name).as_uri()
        return self._client.create_experiment(name, artifact_location=artifacts)


def _mark_path(run: RunDir) -> Path:
    return run.path / "mlflow.json"


def _points(run: RunDir, *, after: int) -> list[Any]:
    """The run's metrics and scores from the mark's step on, as MLflow's points."""
    from mlflow.entities import Metric

    points: dict[tuple[str, int], Any] = {}
    for event in run.current_events():
        if event["kind"] == "metrics":
            values = event["metrics"]
        elif event["kind"] == "score":
            score = event["score"]
            values = {f"{score['task']}/{score['metric']}": score["value"]}
        else:
            continue
        step = event["step"]
        for name, value in values.items():
            points[name, step] = Metric(_safe(name), value, int(event["time"] * 1000), step)
    return [point for (_, step), point in points.items() if step >= after]


def _safe(name: str) -> str:
    """MLflow allows letters, digits and `_-. /:` in a metric's name."""
    return re.sub(r"[^\w\-. /:]", "_", name.replace("@", "_at_"))


class LiveMirror:
    """Mirrors the runs of one command while they go, at most every `period_s` seconds.

    A store that does not answer never stops a run: it is said once, and `lab reindex` mends it.
    """

    def __init__(self, home: Path, runs: Sequence[RunDir], *, period_s: float = 5.0) -> None:
        self._runs = list(runs)
        uris = {run.id: run.experiment().run.tracking.uri for run in runs}
        mirrors = {uri: Mirror(home, uri) for uri in set(uris.values())}
        self._mirrors = {run_id: mirrors[uri] for run_id, uri in uris.items()}
        self._period_s = period_s
        self._last = time.monotonic()
        self._complete: set[str] = set()
        self._waiting: set[str] = set()
        self._broken = False
        self._thread: threading.Thread | None = None

    def tick(self) -> None:
        """Mirror in a thread of its own, so that a slow store holds up no job."""
        busy = self._thread is not None and self._thread.is_alive()
        if not busy and time.monotonic() - self._last >= self._period_s:
            self._thread = threading.Thread(target=self.flush, daemon=True)
            self._thread.start()

    def flush(self) -> None:
        for run in self._runs:
            if not self._broken and run.id not in self._complete:
                self._update(run)
        self._last = time.monotonic()

    def close(self) -> None:
        """Bring every run up to its end; a retried one may have seemed ended before."""
        if self._thread is not None:
            self._thread.join(ANSWER_S)
        if self._thread is None or not self._thread.is_alive():
            self._complete.clear()
            self._thread = threading.Thread(target=self.flush, daemon=True)
            self._thread.start()
            self._thread.join(ANSWER_S)
        if self._thread.is_alive():
            print("lab: the results store does not answer; later: lab reindex", file=sys.stderr)

    def _update(self, run: RunDir) -> None:
        state = run.status().state
        if state == "queued" and run.id in self._waiting:
            return  # nothing new; a long sweep would write the same again and again
        self._waiting.add(run.id)
        if state in ENDED:
            self._complete.add(run.id)
        try:
            self._mirrors[run.id].update(run)
        except Exception as error:  # whatever the store's client raises, the runs go on
            self._broken = True
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            print(f"lab: results store not updated: {reason}; later: lab reindex", file=sys.stderr)

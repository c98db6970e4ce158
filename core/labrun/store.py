"""The results store: MLflow as a mirror of the run directories, rebuilt from them at any time."""

import json
import logging
import os
import re
import socket
import sqlite3
import sys
import threading
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock

from labrun.config import flat, to_plain
from labrun.errors import LabError
from labrun.run_dir import ENDED, RunDir, write_json
from labrun.store_names import LONGEST, name_tags, stored_name, stored_value
from labrun.store_points import points_of

PICTURES = (".png", ".gif")
BATCH = 1000
SCHEMES = ("http://", "https://", "sqlite:///")
ANSWER_S = 60.0
"""How long the end of a command waits for the store."""
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
        points = points_of(run, after=mark["step"])
        for start in range(0, len(points.metrics), BATCH):
            client.log_batch(mark["run"], metrics=points.metrics[start : start + BATCH])
        client.log_batch(mark["run"], tags=_tags(points.tags))
        status = run.status()
        client.update_run(mark["run"], status=STATES.get(status.state, "FAILED"))
        client.set_tag(mark["run"], "state", status.state)
        if status.state in ENDED:
            self._keep_pictures(run, mark["run"])
        last = max((point.step for point in points.metrics), default=mark["step"])
        write_json(_mark_path(run), mark | {"step": last, "attempts": attempts})

    def _keep_pictures(self, run: RunDir, mlflow_id: str) -> None:
        for picture in sorted(run.artifacts.rglob("*")):
            if picture.suffix in PICTURES and picture.is_file():
                folder = picture.parent.relative_to(run.artifacts).as_posix()
                self._client.log_artifact(
                    mlflow_id, str(picture), None if folder == "." else folder
                )

    @property
    def where(self) -> str:
        return self.uri or sqlite_uri(self.home)

    @property
    def mended_by(self) -> str:
        """The command that writes this store anew."""
        return f"lab reindex --uri {without_password(self.uri)}" if self.uri else "lab reindex"

    def client(self) -> Any:
        """MLflow's client of this store, which is created where it is missing."""
        return self._connect()

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
        where = f"tags.`labrun.id` = {quoted(run.id)}"
        experiment = self._experiment(run.experiment().plugin)
        for old in self._client.search_runs([experiment], where):
            self._client.delete_run(old.info.run_id)

    def _create(self, run: RunDir) -> str:
        from mlflow.entities import Param

        experiment = run.experiment()
        facts = {
            "plugin": experiment.plugin,
            "seed": str(experiment.run.seed),
            "group": experiment.run.group,
            **experiment.choices,
        }
        params = facts | dict(flat(experiment.settings)) | dict(flat(to_plain(experiment.run)))
        place = {
            "labrun.id": run.id,
            "labrun.directory": str(run.path),
            "labrun.host": socket.gethostname(),
        }
        made = self._client.create_run(
            self._experiment(experiment.plugin),
            run_name=stored_value(run.id, longest=LONGEST),
            start_time=int(run.created() * 1000),
        )
        self._client.log_batch(
            made.info.run_id,
            params=[Param(stored_name(k), stored_value(v)) for k, v in params.items()],
            tags=_tags({stored_name(k): stored_value(v) for k, v in facts.items()})
            + _tags(name_tags([*params, *facts]) | place),
        )
        return made.info.run_id

    def _experiment(self, plugin: str) -> str:
        name = stored_name(plugin)
        if name not in self._experiments:
            with FileLock(self.home / ".mlflow-experiments.lock", timeout=60):
                known = self._client.get_experiment_by_name(name)
                if known and known.lifecycle_stage == "deleted":
                    self._client.restore_experiment(known.experiment_id)
                self._experiments[name] = known.experiment_id if known else self._new(name)
        return self._experiments[name]

    def _new(self, name: str) -> str:
        folder = self.home / "mlflow-artifacts" / name.replace("/", "_x2f_")
        artifacts = None if self.uri else folder.as_uri()
        return self._client.create_experiment(name, artifact_location=artifacts)


def _mark_path(run: RunDir) -> Path:
    return run.path / "mlflow.json"


def _tags(tags: Mapping[str, str]) -> list[Any]:
    from mlflow.entities import RunTag

    return [RunTag(key, value) for key, value in tags.items()]


def quoted(text: str) -> str:
    """The text as a value in MLflow's search language."""
    return f'"{text}"' if "'" in text else f"'{text}'"


def without_password(uri: str) -> str:
    """The URI, or a text that holds it, as it may be printed."""
    return re.sub(r"(?<=://)[^/\s]*@", "", uri)


def is_down(error: BaseException) -> bool:
    """Whether the store itself cannot be reached or written, rather than one run of it."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ConnectionError | TimeoutError | sqlite3.OperationalError):
            return True
        if type(cause).__module__.split(".")[0] in ("requests", "urllib3"):
            return True
        cause = cause.__cause__ or cause.__context__
    return False


def reason_of(error: BaseException) -> str:
    """The error's first line; its kind where it says nothing."""
    return without_password((str(error).strip() or type(error).__name__).splitlines()[0])


class LiveMirror:
    """Mirrors the runs of one command while they go, at most every `period_s` seconds.

    A store that does not answer never stops a run: it is said once, and `lab reindex` mends it. A
    run that cannot be stored is named, and harms no other.
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
        self._down: set[str] = set()
        self._left_out: set[str] = set()
        self._thread: threading.Thread | None = None

    def tick(self) -> None:
        """Mirror in a thread of its own, so that a slow store holds up no job."""
        busy = self._thread is not None and self._thread.is_alive()
        if not busy and time.monotonic() - self._last >= self._period_s:
            self._thread = threading.Thread(target=self.flush, daemon=True)
            self._thread.start()

    def flush(self) -> None:
        for run in self._runs:
            mirror = self._mirrors[run.id]
            if mirror.uri in self._down or run.id in self._complete | self._left_out:
                continue
            try:
                self._update(run)
            except Exception as error:  # whatever the store's client raises, the runs go on
                self._give_up(run, mirror, error)
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
        self._mirrors[run.id].update(run)

    def _give_up(self, run: RunDir, mirror: Mirror, error: Exception) -> None:
        """Try the store, where it is down, or else this run no more, and say so."""
        down = is_down(error)
        if down:
            self._down.add(mirror.uri)
        else:
            self._left_out.add(run.id)
        whom = "" if down else f" for run {run.id}"
        text = f"results store not updated{whom}: {reason_of(error)}; later: {mirror.mended_by}"
        print(f"lab: {text}", file=sys.stderr)

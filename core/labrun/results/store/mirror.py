"""One results store as the mirror of the runs of a home."""

import contextlib
import logging
import os
import sqlite3
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from labrun.config.credentials import masked
from labrun.errors import LabError
from labrun.results.store.database import BUSY_S, Database
from labrun.results.store.file import ensure_sqlite, identity, path_of, put_aside, sqlite_uri
from labrun.results.store.owner import refuse_elsewhere
from labrun.results.store.server import Server
from labrun.results.store.trouble import is_damage, reason_of
from labrun.runs.run_dir import RunDir


@dataclass
class Mirror:
    """Writes the runs of a home into one store. Mirroring twice changes nothing.

    Several processes may write the same sqlite store. A store of the home that is missing is made,
    and one that is damaged is put aside and made anew; both hold nothing at first.
    """

    home: Path
    uri: str = ""
    busy_s: float = BUSY_S
    making_s: float = 300.0
    _open: Database | Server | None = field(default=None, repr=False)
    _client: Any = field(default=None, repr=False)
    _which: tuple[int, int] | None = None
    """The file that was opened, which another process may have replaced since."""

    @property
    def where(self) -> str:
        return self.uri or sqlite_uri(self.home)

    @property
    def path(self) -> Path | None:
        """The store's file; None of a server."""
        return path_of(self.where)

    @property
    def mended_by(self) -> str:
        """The command that writes this store anew."""
        return f"lab reindex --uri {masked(self.uri, by='')}" if self.uri else "lab reindex"

    def identity(self) -> object:
        """What changes when the store is another one."""
        return identity(self.path) if self.path else self.uri

    def update(self, run: RunDir, *, afresh: bool = False) -> None:
        """Bring the store up to the run directory's present content."""
        with self.opened() as store:
            try:
                store.update(run, afresh=afresh)
            except sqlite3.DatabaseError as error:
                if isinstance(store, Database) and store.is_together:
                    raise  # the runs before it would be lost with the file
                self._replace_damaged(error)
                with self.opened() as new:
                    new.update(run, afresh=afresh)

    @contextlib.contextmanager
    def opened(self) -> Iterator[Database | Server]:
        """The store; what is opened inside is the same one."""
        if self._open is not None:
            yield self._open
            return
        self._open = self._connect()
        try:
            yield self._open
        finally:
            self._open.close()
            self._open = None

    def client(self) -> Any:
        """MLflow's client of this store, which is created where it is missing."""
        if self.path is not None:
            ensure_sqlite(self.path)
        if self._client is None:
            self._client = _mlflow_client(self.where)
        return self._client

    def _connect(self) -> Database | Server:
        path = self.path
        if path is None:
            return Server(self.home, self.where, self.client())
        try:
            rows = self._rows(path)
        except sqlite3.DatabaseError as error:
            if self.uri or not is_damage(error):
                raise
            self._put_aside(path)
            rows = self._rows(path)
        if rows.is_known:
            return rows
        rows.close()
        return Server(self.home, self.where, self._client_of(path), folder=path.parent)

    def _client_of(self, path: Path) -> Any:
        """MLflow's client of the file. Raises LabError where this MLflow knows no such tables."""
        try:
            return self.client()
        except Exception as error:
            if type(error).__module__.split(".")[0] != "mlflow":
                raise
            said = reason_of(error).partition(". ")[0]
            raise LabError(
                f"the results store {path} is of another version of MLflow: {said}; "
                f"`mlflow db upgrade {self.where}`, or move the file aside and `{self.mended_by}`"
            ) from error

    def _rows(self, path: Path) -> Database:
        refuse_elsewhere(path)
        ensure_sqlite(path, wait_s=self.making_s)
        self._which = identity(path)
        return Database(path, busy_s=self.busy_s)

    def _replace_damaged(self, error: sqlite3.DatabaseError) -> None:
        """Continue with a new store. Raises the error again if the old store is not damaged."""
        path = self.path
        if self.uri or path is None or self._open is None or not is_damage(error):
            raise error
        self._open.close()
        self._put_aside(path)
        self._open = self._connect()

    def _put_aside(self, path: Path) -> None:
        if aside := put_aside(path, which=self._which):
            print(
                f"lab: the store was damaged and now lies at {aside}; it is written anew",
                file=sys.stderr,
            )


def _mlflow_client(uri: str) -> Any:
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    for name in ("alembic", "mlflow"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations inside mlflow's own imports
        from mlflow import MlflowClient

        return MlflowClient(uri)

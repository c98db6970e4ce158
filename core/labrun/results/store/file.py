"""The sqlite file of a home's results store: where it lies, how it is made and put aside.

MLflow makes the file, in a process of its own, since its import and its migrations take seconds. An
empty one is kept in a cache folder, one for each version of MLflow, and copied from there.
"""

import os
import shutil
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from labrun.config.credentials import masked
from labrun.errors import LabError
from labrun.results.store.owner import elsewhere
from labrun.results.store.trouble import is_damage

SCHEMES = ("http://", "https://", "sqlite:///")
BESIDE = ("-wal", "-shm")
"""Files that sqlite keeps next to a database; next to another database they do harm."""
MAKING_S = 300


def sqlite_uri(home: Path) -> str:
    return f"sqlite:///{home / 'mlflow.db'}"


def path_of(uri: str) -> Path | None:
    """The file of a sqlite URI; None of a server's."""
    return Path(uri.removeprefix("sqlite:///")) if uri.startswith("sqlite:///") else None


def check_uri(uri: str) -> None:
    """Raise LabError for a tracking URI of a kind that MLflow does not serve here."""
    if uri and not uri.startswith(SCHEMES):
        raise LabError(
            f"tracking.uri={masked(uri)}: no such kind; allowed: {', '.join(SCHEMES)} or empty; it "
            "may come from MLFLOW_TRACKING_URI"
        )


def is_sound(path: Path) -> bool:
    """False only where it is no file, or sqlite says that it is damaged or no database."""
    if not path.exists():
        return True
    if not path.is_file():
        return False
    try:
        with closing(sqlite3.connect(path)) as database:
            return database.execute("pragma quick_check").fetchone()[0] == "ok"
    except sqlite3.DatabaseError as error:
        return not is_damage(error)


def identity(path: Path) -> tuple[int, int] | None:
    """The file's identity, other than that of a later file of this name; None without a file."""
    try:
        facts = os.stat(path)
    except FileNotFoundError:
        return None
    return facts.st_dev, facts.st_ino


def put_aside(path: Path, *, which: tuple[int, int] | None = None) -> Path | None:
    """Move a damaged store out of the way; returns where it now lies.

    None where it is no more the file `which`: another process was here before.
    """
    from filelock import FileLock

    with FileLock(f"{path}.lock", timeout=MAKING_S):
        if which is not None and identity(path) != which:
            return None
        aside = path.with_name(f"{path.name}.damaged-{time.time_ns() // 1000}")
        os.replace(path, aside)
        for ending in BESIDE:
            path.with_name(path.name + ending).unlink(missing_ok=True)
        return aside


def set_damaged_aside(home: Path) -> Path | None:
    """Move a store that sqlite cannot read out of the way; returns where it now lies."""
    path = home / "mlflow.db"
    return None if elsewhere(path) or is_sound(path) else put_aside(path)


def say_damaged(home: Path) -> None:
    """Say in one line that the store was damaged and put aside, where it was."""
    if aside := set_damaged_aside(home):
        print(f"lab: the store was damaged and now lies at {aside}", file=sys.stderr)


def ensure_sqlite(path: Path, *, wait_s: float = MAKING_S) -> None:
    """Create the store under a lock and a temporary name, so that no reader sees half of it.

    Raises TimeoutError where that takes longer than `wait_s`; it is then there later.
    """
    if path.exists():
        return
    from filelock import FileLock

    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock", timeout=MAKING_S):
        if path.exists():
            return
        empty = _empty_store(path.parent, wait_s)
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            shutil.copyfile(empty, draft)
            _settle(draft, path.parent)
            for ending in BESIDE:
                path.with_name(path.name + ending).unlink(missing_ok=True)
            os.replace(draft, path)
        finally:
            draft.unlink(missing_ok=True)


def _settle(draft: Path, home: Path) -> None:
    """Fit the copied store to this home: the artifacts' folder, readers beside a writer."""
    database = sqlite3.connect(draft)
    now = time.time_ns() // 1_000_000
    with database:
        database.execute(
            "update experiments set artifact_location=?, creation_time=?, last_update_time=?",
            (str(home / "mlflow-artifacts" / "0"), now, now),
        )
    database.execute("pragma journal_mode=wal")
    database.execute("pragma wal_checkpoint(truncate)")
    database.close()


def _mlflow_version() -> str:
    try:
        return version("mlflow")
    except PackageNotFoundError:
        raise LabError(
            "the results store needs the package mlflow, which is not installed; "
            "`pip install mlflow`; runs are kept without it"
        ) from None


def _empty_store(home: Path, wait_s: float) -> Path:
    """An empty store of the installed MLflow in a cache folder, made where it is missing.

    A copy that is damaged is made anew.
    """
    path = cache_folder(home) / f"mlflow-{_mlflow_version()}.db"
    if path.exists() and _is_empty(path):
        return path
    command = [sys.executable, "-W", "ignore", "-m", "labrun.results.store.creation", str(path)]
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
    ) as maker:
        try:
            _, said = maker.communicate(timeout=wait_s)
        except subprocess.TimeoutExpired:
            maker.returncode = 0  # it goes on by itself, and nobody waits for it here
            raise TimeoutError("the store is being made; it is there in a few seconds") from None
        except BaseException:
            maker.kill()
            raise
    if maker.returncode:
        lines = said.decode(errors="replace").strip().splitlines()
        raise LabError(f"MLflow cannot make {path}: {lines[-1] if lines else 'it says nothing'}")
    return path


def cache_folder(home: Path) -> Path:
    """The user's cache folder; where that cannot be written, as in a container without a home for
    its user, one in `home`. It is there when this returns."""
    users = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    folder = Path(users) / "labrun"
    with suppress(OSError):
        if folder.is_absolute():
            folder.mkdir(parents=True, exist_ok=True)
            if os.access(folder, os.W_OK | os.X_OK):
                return folder
    folder = home / ".cache"
    folder.mkdir(exist_ok=True)
    return folder


def _is_empty(path: Path) -> bool:
    try:
        database = sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)
        sound = database.execute("pragma quick_check").fetchone()[0] == "ok"
        return sound and database.execute("select count(*) from runs").fetchone() == (0,)
    except sqlite3.DatabaseError:
        return False

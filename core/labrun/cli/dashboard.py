"""MLflow's server for one home, and the page of it that `lab ui` opens."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import NoReturn

from labrun.config.credentials import masked
from labrun.results.store import sqlite_uri
from labrun.results.store.database import Database
from labrun.results.store.trouble import unusable
from labrun.runs.run_index import Entry

SERVER = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
"""Without the eight processes for jobs that no run of labrun asks for."""
EVERYWHERE = ("0.0.0.0", "::")
"""Hosts to listen on, of which a browser knows none."""


def page(home: Path, found: Sequence[Entry]) -> str:
    """The page of the newest group's training view, behind the server's address; empty where this
    store has no run. Says what of the runs is to be seen elsewhere."""
    here = [entry for entry in found if entry.group is not None and not entry.uri]
    elsewhere = [entry for entry in found if entry.uri]
    if elsewhere and (not here or elsewhere[-1].created > here[-1].created):
        newest = elsewhere[-1]
        print(f"lab: the runs of group {newest.group} are stored at {masked(newest.uri)}")
    try:
        with closing(Database(home / "mlflow.db")) as store:
            return _view(store, here[-1].group if here else None)
    except sqlite3.OperationalError as error:
        raise unusable(sqlite_uri(home), error) from error


def _view(store: Database, group: str | None) -> str:
    if not store.is_known:
        return ""
    if earlier := store.num_earlier():
        print(f"lab: {earlier} runs lie in experiments of an earlier version; lab reindex")
    return _training(store.keep_view(group)) if group is not None else ""


def _training(link: tuple[int, str]) -> str:
    experiment, key = link
    runs = f"/#/experiments/{experiment}/runs"
    return f"{runs}?workflowType=machine_learning&viewStateShareKey={key}&compareRunsMode=CHART"


def serve(home: Path, page: str, *, host: str, port: int, browser: bool) -> NoReturn:
    """Become MLflow's server."""
    url = f"http://{host}:{port}{page}"
    print(f"lab: {url} (Ctrl-C ends it)", flush=True)
    if browser and has_display():
        seen = f"http://{'127.0.0.1' if host in EVERYWHERE else host}:{port}"
        subprocess.Popen(
            [sys.executable, "-m", "labrun.cli.browser", seen, page],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    where = ["--backend-store-uri", sqlite_uri(home), "--host", host, "--port", str(port)]
    command = [sys.executable, "-m", "mlflow", "ui", *where, "--workers", "1"]
    os.execve(sys.executable, command, os.environ | SERVER)


def has_display() -> bool:
    """Whether this is a desktop, whose browser does not take the terminal."""
    on_desktop = sys.platform in ("darwin", "win32")
    return on_desktop or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))

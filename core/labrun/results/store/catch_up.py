"""What other commands left behind is written to the results store by the next one that looks."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlparse

from labrun.results.store.database import Database
from labrun.results.store.file import path_of
from labrun.results.store.marks import Copied, Mark
from labrun.results.store.mirror import Mirror
from labrun.results.store.said import said_of
from labrun.results.store.server import place_in
from labrun.results.store.trouble import is_down
from labrun.runs.run_dir import ENDED
from labrun.runs.run_index import Entry, entries

SECONDS = 0.5
BUSY_S = 0.3
REACHED_S = 0.3


def catch_up(home: Path, found: Sequence[Entry] | None = None, *, seconds: float = SECONDS) -> None:
    """Write what is behind to the stores, for about so many seconds; the next look goes on.

    A store that cannot be written now is left for the next look. A server is written by a process
    of its own, since MLflow's client alone takes seconds to import.
    """
    until = time.monotonic() + seconds
    found = entries(home) if found is None else found
    for uri in dict.fromkeys(entry.uri for entry in found):
        runs = [entry for entry in found if entry.uri == uri]
        if uri and path_of(uri) is None:
            _catch_up_server(home, uri, runs)
        else:
            _catch_up_file(home, uri, runs, until)


def _catch_up_file(home: Path, uri: str, runs: Sequence[Entry], until: float) -> None:
    left = max(until - time.monotonic(), 0.05)
    mirror = Mirror(home, uri, busy_s=min(BUSY_S, left), making_s=left)
    try:
        with mirror.opened() as store:
            if not isinstance(store, Database):
                return  # tables of another version; MLflow's client is for `lab reindex`
            known, nothing = store.copied([entry.id for entry in runs]), Copied()
            for entry in runs:
                if entry.state == "damaged":
                    continue  # its events are not read at each look; `lab reindex` names it
                if is_behind(entry, known.get(entry.id, nothing)):
                    _write(entry, mirror)
                    if time.monotonic() > until:
                        return
    except Exception:  # a look at the runs never fails because of the store
        return


def _write(entry: Entry, mirror: Mirror) -> None:
    """Store one run; one that cannot be stored is named by its own command and `lab reindex`.

    Raises only the errors of a store that is down.
    """
    try:
        mirror.update(entry.run)
    except Exception as error:  # whatever is wrong with one run, the others are written
        if is_down(error):
            raise


def is_behind(entry: Entry, mark: Copied | Mark) -> bool:
    """Whether the store lacks something of the run."""
    if (mark.size, mark.status) != entry.signs or mark.folder != entry.root:
        return True
    if mark.said != said_of(entry.notes):
        return True
    return mark.state not in ENDED and mark.state != entry.state


def behind_on_server(uri: str, runs: Sequence[Entry]) -> list[Entry]:
    """The ended runs of which the server lacks something, by their mlflow.json."""
    ended = [entry for entry in runs if entry.state in ENDED]
    places = [(entry, place_in(entry.run, uri)) for entry in ended]
    return [entry for entry, place in places if is_behind(entry, place.mark if place else Mark())]


def _catch_up_server(home: Path, uri: str, runs: Sequence[Entry]) -> None:
    if behind_on_server(uri, runs) and _answers(uri):
        subprocess.Popen(
            [sys.executable, "-m", "labrun.results.store", str(home), uri],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env=dict(os.environ),
        )


def _answers(uri: str) -> bool:
    """Whether somebody listens at the server's address."""
    place = urlparse(uri)
    port = place.port or (443 if place.scheme == "https" else 80)
    try:
        socket.create_connection((place.hostname or "", port), timeout=REACHED_S).close()
    except (OSError, ValueError):
        return False
    return True

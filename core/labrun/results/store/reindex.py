"""The results store made anew from the run directories."""

import os
import socket
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from labrun.results.store.database import AT_ONCE, Database
from labrun.results.store.mirror import Mirror
from labrun.results.store.server import Server, quoted
from labrun.results.store.trouble import is_down, reason_of, unusable
from labrun.runs.run_dir import RunDir
from labrun.runs.run_index import Entry, entries
from labrun.runs.seals import DamagedError

PAGE = 1000
TOGETHER_S = 0.2
"""Seconds for which other writers of the store wait at most."""


@dataclass
class Reindexed:
    """What became of the runs: how many were written, why some were not, which are gone."""

    written: int = 0
    left_out: dict[str, str] = field(default_factory=dict)
    removed: list[str] = field(default_factory=list)


def reindex(mirror: Mirror) -> Reindexed:
    """Write every run of the home anew, and remove those whose directory is gone.

    A run that cannot be stored is left out. Raises LabError where the store cannot be reached.
    """
    done = Reindexed()
    try:
        with mirror.opened() as store:
            _write_all(mirror, store, done)
        with mirror.opened() as store:
            done.removed = _remove_gone(mirror, store)
            if isinstance(store, Database):
                store.leave_old_experiments()
                store.shrink()
    except Exception as error:
        if not is_down(error):
            raise
        raise unusable(mirror.where, error) from error
    return done


def forget_gone(mirror: Mirror) -> list[str]:
    """Remove the runs whose directory is gone from the store; returns their ids.

    Raises LabError where the store cannot be reached.
    """
    if mirror.path is not None and not mirror.path.exists():
        return []
    try:
        with mirror.opened() as store:
            return _remove_gone(mirror, store)
    except Exception as error:
        if not is_down(error):
            raise
        raise unusable(mirror.where, error) from error


def _write_all(mirror: Mirror, store: Database | Server, done: Reindexed) -> None:
    """Write the runs, small ones together: a transaction for each would take longer than it."""
    waiting = deque(entries(mirror.home))
    while waiting:
        if not _is_small(waiting[0], store):
            _write(waiting.popleft().run, mirror, done)
            continue
        assert isinstance(store, Database)
        with store.together():
            until = time.monotonic() + TOGETHER_S
            while waiting and _is_small(waiting[0], store) and time.monotonic() < until:
                _write(waiting.popleft().run, mirror, done)


def _is_small(entry: Entry, store: Database | Server) -> bool:
    """Whether the run can be written in one transaction with others, who wait for it: its events
    are few, and it has no files to copy."""
    if not isinstance(store, Database) or entry.signs[0] >= AT_ONCE:
        return False
    try:
        return not any(entry.run.artifacts.iterdir())
    except OSError:
        return True


def _write(run: RunDir, mirror: Mirror, done: Reindexed) -> None:
    """Write one run. Raises what the store raises where it is down."""
    try:
        if fault := run.events_fault():
            raise DamagedError(fault)
        mirror.update(run, afresh=True)
        done.written += 1
    except Exception as error:  # whatever is wrong with one run, the others are written
        if is_down(error):
            raise
        done.left_out[run.id] = reason_of(error)


def _remove_gone(mirror: Mirror, store: Database | Server) -> list[str]:
    """Ids of the runs that were in this home and are no more; a server may hold others' runs."""
    if not mirror.home.is_dir():
        return []
    homes = {str(mirror.home), str(mirror.home.resolve())}
    stored = store.folders() if isinstance(store, Database) else _folders_on(mirror, store, homes)
    there = set(os.listdir(mirror.home))
    gone = [
        (one, run_id)
        for one, run_id, folder in stored
        if str(Path(folder).parent) in homes and Path(folder).name not in there
    ]
    store.remove([one for one, _ in gone])
    return sorted({run_id for _, run_id in gone})


def _folders_on(mirror: Mirror, store: Server, homes: set[str]) -> Iterator[tuple[str, str, str]]:
    """(MLflow's id, run id, directory) of the live runs of these homes; of this machine only."""
    experiments = [e.experiment_id for e in _pages(store.client.search_experiments)]
    for home in homes:
        where = f"tags.`labrun.directory` LIKE {quoted(f'{home}/%')}"
        for run in _pages(store.client.search_runs, experiments, where):
            tags = run.data.tags
            if not mirror.uri or tags.get("labrun.host") == socket.gethostname():
                name = tags.get("labrun.id", run.info.run_name)
                yield run.info.run_id, name, tags["labrun.directory"]


def _pages(search: Any, *words: Any) -> Iterator[Any]:
    token = None
    while True:
        page: Sequence[Any] = search(*words, max_results=PAGE, page_token=token)
        yield from page
        token = getattr(page, "token", None)
        if not token:
            return

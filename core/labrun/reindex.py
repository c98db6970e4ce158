"""The results store made anew from the run directories."""

import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from labrun.errors import LabError
from labrun.run_dir import all_runs
from labrun.store import Mirror, is_down, quoted, reason_of, without_password

PAGE = 1000


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
    for run in all_runs(mirror.home):
        try:
            mirror.update(run, afresh=True)
            done.written += 1
        except Exception as error:  # whatever is wrong with one run, the others are written
            _refuse_if_down(mirror, error)
            done.left_out[run.id] = reason_of(error)
    try:
        done.removed = _remove_gone(mirror)
    except Exception as error:
        _refuse_if_down(mirror, error)
        raise
    return done


def _refuse_if_down(mirror: Mirror, error: Exception) -> None:
    if is_down(error):
        where = without_password(mirror.where)
        raise LabError(f"the results store {where} cannot be used: {reason_of(error)}") from error


def _remove_gone(mirror: Mirror) -> list[str]:
    """Ids of the runs that were in this home and are no more; a server may hold others' runs."""
    if not mirror.home.is_dir():
        return []
    gone = []
    for stored in _stored_in(mirror):
        if not Path(stored.data.tags["labrun.directory"]).exists():
            mirror.client().delete_run(stored.info.run_id)
            gone.append(stored.data.tags.get("labrun.id", stored.info.run_name))
    return sorted(gone)


def _stored_in(mirror: Mirror) -> list[Any]:
    """The store's live runs whose directory lay in this home; on a server, of this machine."""
    client = mirror.client()
    homes = {mirror.home, mirror.home.resolve()}
    runs: dict[str, Any] = {}
    experiments = [e.experiment_id for e in _pages(client.search_experiments)]
    for home in homes:
        where = f"tags.`labrun.directory` LIKE {quoted(f'{home}/%')}"
        for run in _pages(client.search_runs, experiments, where):
            if Path(run.data.tags["labrun.directory"]).parent in homes and _is_ours(mirror, run):
                runs[run.info.run_id] = run
    return list(runs.values())


def _is_ours(mirror: Mirror, run: Any) -> bool:
    """Another machine may have a home of the same path."""
    return not mirror.uri or run.data.tags.get("labrun.host") == socket.gethostname()


def _pages(search: Any, *words: Any) -> Iterator[Any]:
    token = None
    while True:
        page: Sequence[Any] = search(*words, max_results=PAGE, page_token=token)
        yield from page
        token = getattr(page, "token", None)
        if not token:
            return

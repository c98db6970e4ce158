"""Runs deleted for good: their directories, and what the results store holds of them."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from labrun.errors import LabError, listed
from labrun.launch import following
from labrun.launch.launchers import Word
from labrun.results.store import Mirror
from labrun.results.store.reindex import forget_gone
from labrun.runs.run_dir import RunDir
from labrun.system.json_files import reason

TRASH = ".deleted-"


def refuse_under_way(runs: Sequence[RunDir]) -> None:
    """Raise LabError where a run is queued or running, also by its scheduler's word alone."""
    words = following.words(runs, ask_all=True)
    open_runs = [run.id for run in runs if _is_under_way(run, words.get(run.id))]
    if open_runs:
        raise LabError(
            f"queued or running and not deleted: {listed(open_runs)}; `lab cancel` them first; "
            "nothing was deleted"
        )


def _is_under_way(run: RunDir, word: Word | None) -> bool:
    lives = word is not None and word.state in ("waiting", "running")
    return lives or run.status().state in following.OPEN


def delete(runs: Sequence[RunDir]) -> list[str]:
    """Delete the runs; returns what could not be brought into line with them, a sentence each.

    Raises LabError, before anything is deleted, where a run is under way or in other hands.
    """
    refuse_under_way(runs)
    claims: dict[Path, int] = {}
    try:
        for run in runs:
            claims[run.path] = run.claim()
        stores = dict.fromkeys((run.path.parent, _uri(run)) for run in runs)
        for run in runs:
            _remove(run, claims.pop(run.path))
    finally:
        for claim in claims.values():
            os.close(claim)
    return [fault for home, uri in stores if (fault := _forgotten(home, uri))]


def size_of(run: RunDir) -> int:
    """Bytes of all files of the run."""
    files = (path for path in run.path.rglob("*") if path.is_file() and not path.is_symlink())
    return sum(path.stat().st_size for path in files)


def _uri(run: RunDir) -> str:
    """The run's store; the home's own where its spec is damaged."""
    try:
        return run.experiment().run.tracking.uri
    except LabError:
        return ""


def _remove(run: RunDir, claim: int) -> None:
    """The directory vanishes at once under its name, then its files go; the claim is closed in
    between, since NFS keeps a folder as long as a file in it is open."""
    trash = run.path.with_name(f"{TRASH}{run.id}")
    try:
        try:
            shutil.rmtree(trash, ignore_errors=True)
            os.rename(run.path, trash)
        finally:
            os.close(claim)
        shutil.rmtree(trash)
    except OSError as error:
        raise LabError(f"run {run.id} cannot be deleted: {reason(error)} ({run.path})") from error


def _forgotten(home: Path, uri: str) -> str:
    """Why the store still lists deleted runs; empty where it does not."""
    mirror = Mirror(home, uri)
    try:
        forget_gone(mirror)
    except LabError as error:
        return f"{error}; it still lists what was deleted; later: {mirror.mended_by}"
    return ""

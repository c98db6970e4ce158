"""What is damaged among the files of a run directory, one line a file."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from labrun.errors import LabError
from labrun.runs import checkpoints, notes
from labrun.runs.run_dir import EVENTS, PROGRESS, RunDir
from labrun.runs.seals import DamagedError
from labrun.system import regular_files
from labrun.system.json_files import read_object, reason

WRITTEN = (".lock", ".failure.json", "stdio.log", "mlflow.json")
"""Files of a run; an attempt fails if something else has the name of one."""
DAMAGED = ("unreadable", "damaged")
"""States of runs whose status.json or events.jsonl is damaged."""


def faults(run: RunDir, *, deep: bool = False) -> list[str]:
    """Every damaged file, with its path and what is wrong; `deep` reads events and checkpoints."""
    return list(dict.fromkeys(_faults(run, deep=deep)))


def first(run: RunDir) -> str | None:
    """The first fault that a quick look finds, or None."""
    return next(_faults(run, deep=False), None)


def of_results(run: RunDir) -> str | None:
    """Why a done run's scores are not to be trusted, or None; its events are read."""
    try:
        run.experiment()
        run.data_fingerprint()
    except LabError as error:
        return str(error)
    status = run.status()
    return status.message if status.state in DAMAGED else run.events_fault()


def refuse(run: RunDir) -> None:
    """Raise DamagedError for damage, outside events and checkpoints, that ends any attempt."""
    run.experiment()
    run.data_fingerprint()
    for fault in _replaced(run, (*WRITTEN, "status.json", "data.json", PROGRESS)):
        raise DamagedError(fault)


def _faults(run: RunDir, *, deep: bool) -> Iterator[str]:
    for check in (run.experiment, run.data_fingerprint):
        try:
            check()
        except LabError as error:
            yield str(error)
    status = run.status()
    if status.state in DAMAGED:
        yield status.message
    yield from filter(None, [notes.fault_of(run.path)])
    yield from _objects(run.path / PROGRESS)
    yield from _replaced(run, (*WRITTEN, EVENTS))
    if deep:
        yield from filter(None, [run.events_fault()])
    try:
        folders = checkpoints.folders(run.checkpoints)
    except LabError as error:
        yield str(error)
        return
    for folder in folders if deep else ():
        if fault := checkpoints.fault_of(folder):
            yield fault


def _objects(path: Path) -> Iterator[str]:
    try:
        read_object(path)
    except FileNotFoundError:
        return
    except LabError as error:
        yield str(error)


def _replaced(run: RunDir, names: Iterable[str]) -> Iterator[str]:
    """Those that are no files or cannot be seen."""
    for path in (run.path / name for name in names):
        try:
            if path.is_dir():
                yield f"{path} is a directory; remove it"
            elif regular_files.is_other(path):
                yield f"{path} is a pipe or a device; remove it"
        except OSError as error:
            yield f"{path} cannot be read: {reason(error)}"

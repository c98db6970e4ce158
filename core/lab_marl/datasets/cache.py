"""Generated data, made once and kept in LABRUN_HOME."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout
from labrun.errors import LabError
from labrun.runs.run_dir import home

from lab_marl.behaviours.tiers import Progress
from lab_marl.datasets.generated import Recipe, generate
from lab_marl.episodes import hdf5_writer
from lab_marl.episodes.hdf5_files import Part, probe

WAIT_S = 2.0
"""Seconds between signs of life while another process makes the same data."""


def path_of(recipe: Recipe) -> Path:
    """`<home>/data/marl/<task>/<quality>/<run>/part_0.h5`, the run named after the recipe.

    Data that were made before the toolkit had a folder of its own lie in `data/stairs`.
    """
    run = f"n{recipe.num_episodes}-s{recipe.seed}-{recipe.digest()[:12]}"
    place = Path(recipe.task, recipe.quality, run, "part_0.h5")
    earlier = home() / "data" / "stairs" / place
    return earlier if earlier.exists() else home() / "data" / "marl" / place


def ensure(recipe: Recipe, progress: Progress) -> Path:
    """The file of the recipe, made now unless it is there; another process that makes it is
    waited for. The file appears complete.

    Raises LabError where its folder cannot be made.
    """
    file = path_of(recipe)
    if not file.exists():
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            text = f"cannot make {file.parent}: {error.strerror}; set LABRUN_HOME"
            raise LabError(text) from error
        with _locked(
            file.parent,
            waiting=lambda: progress("another process makes it", 0, recipe.num_episodes),
        ):
            if not file.exists():
                _make(recipe, file, progress)
    return file


@contextmanager
def _locked(folder: Path, *, waiting: Callable[[], None]) -> Iterator[None]:
    lock = FileLock(folder / ".lock")
    while not _taken(lock):
        waiting()
    try:
        yield
    finally:
        lock.release()


def _taken(lock: FileLock) -> bool:
    try:
        lock.acquire(timeout=WAIT_S)
    except Timeout:
        return False
    return True


def _make(recipe: Recipe, file: Path, progress: Progress) -> None:
    for left in file.parent.glob(f".{file.name}.*"):  # of a process that was killed as it wrote
        left.unlink()
    made = generate(recipe, progress)
    attributes = {
        "task": recipe.task,
        "quality": recipe.quality,
        "seed": recipe.seed,
        "policy": recipe.policy(),
        **made.statistics(),
    }
    hdf5_writer.write(file, made.episodes, recipe.layout, attributes=attributes)


def kept(recipe: Recipe) -> Part | None:
    """The file's own statistics; None if the file is not made yet.

    Raises LabError, with the remedy, where it is damaged.
    """
    file = path_of(recipe)
    if not file.exists():
        return None
    with remedy(file):
        return probe([file], recipe.layout)[0]


@contextmanager
def remedy(file: Path) -> Iterator[None]:
    """Adds to a refusal of the file how it is made again."""
    try:
        yield
    except LabError as error:
        raise LabError(f"{error}; delete {file} and it is made again") from error

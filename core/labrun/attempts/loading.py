"""Checkpoints that cannot be loaded although the sums of their files hold."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from labrun.attempts.failures import is_passing
from labrun.errors import DivergedError, LabError, PreemptedError
from labrun.system.json_files import reason

OWN = (LabError, DivergedError, PreemptedError)


class UnloadableError(Exception):
    """A file of a checkpoint is damaged; the worker goes on from the checkpoint before."""


@contextmanager
def loading(
    path: Path,
    *,
    ended: Callable[[], bool] = lambda: False,
    culprit: Callable[[Path], Path | None] = lambda _: None,
) -> Iterator[None]:
    """While entered, an error is the fault of the checkpoint's file or folder at `path`.

    Not so what the machine may not suffer the next time (memory, disk), a LabError, and what is
    raised once `ended` says that loading is over. `culprit` looks for the file at fault in a
    folder.

    Raises UnloadableError.
    """
    try:
        yield
    except OWN:
        raise
    except Exception as error:
        missing = isinstance(error, FileNotFoundError | IsADirectoryError | EOFError)
        if ended() or (is_passing(error) and not missing):
            raise
        said = f"{type(error).__name__}: {reason(error)}"
        raise UnloadableError(f"damaged: {culprit(path) or path} ({said[:200]})") from error

"""Why an attempt failed: the scheduler decides by it whether another attempt may succeed."""

import errno
import json
from dataclasses import asdict, dataclass

from labrun.errors import causes_of, text_of
from labrun.runs.run_dir import RunDir, write_json
from labrun.system import disk, regular_files

FILE = ".failure.json"
PASSING = (OSError, MemoryError, EOFError)
"""Errors of the machine, which may be gone the next time."""
PROGRAMMING = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    NameError,
    NotImplementedError,
    RecursionError,
    SyntaxError,
    SystemExit,
    TypeError,
    ValueError,
)
"""Errors of code and settings, which come again."""
PROGRAMMING_PACKAGES = ("jinja2", "re", "sre_constants")
OUT_OF_MEMORY = ("out of memory", "cannot allocate memory", "can't allocate memory", "bad_alloc")
LASTING = (errno.EFBIG, errno.EROFS)


@dataclass(frozen=True)
class Failure:
    """The exception that ended an attempt, and the step at which it did."""

    attempt: int
    kind: str
    message: str
    step: int
    passing: bool
    programming: bool

    def comes_again(self, before: "Failure | None") -> bool:
        """Whether a further attempt would only fail in the same way."""
        if self.passing:
            return False
        return self.programming or (before is not None and self._same(before))

    def _same(self, other: "Failure") -> bool:
        mine, theirs = ((f.kind, f.message, f.step) for f in (self, other))
        return mine == theirs


def record(run: RunDir, error: BaseException, *, attempt: int, is_lasting: bool = False) -> None:
    """Keep why this attempt failed; `is_lasting` says that its disk refused what it wrote."""
    passing = not is_lasting and is_passing(error)
    failure = Failure(
        attempt=attempt,
        kind=type(error).__qualname__,
        message=text_of(error),
        step=run.recorded_status().step,
        passing=passing,
        programming=not passing and (is_lasting or _is_programming(error)),
    )
    write_json(run.path / FILE, asdict(failure))


def of(run: RunDir, *, attempt: int) -> Failure | None:
    """Why this attempt failed; None if it left no reason, as when a signal ended it."""
    try:
        failure = Failure(**json.loads(regular_files.content(run.path / FILE)))
    except (OSError, ValueError, TypeError, RecursionError):
        return None
    return failure if failure.attempt == attempt else None


def is_passing(error: BaseException) -> bool:
    """Whether the machine failed, not code, settings or files: the next time it may not."""
    return isinstance(error, PASSING) or is_out_of_memory(error)


def is_lasting(run: RunDir, error: BaseException) -> bool:
    """Whether the disk refuses what the run writes, until somebody makes room."""
    refused = isinstance(error, OSError) and error.errno in LASTING
    return refused or disk.is_full(run.path, error)


def _is_programming(error: BaseException) -> bool:
    packages = {kind.__module__.split(".")[0] for kind in type(error).__mro__}
    return isinstance(error, PROGRAMMING) or not packages.isdisjoint(PROGRAMMING_PACKAGES)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether there was too little memory, of the machine or of a GPU."""
    return any(map(_says_out_of_memory, causes_of(error)))


def _says_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError) or "OutOfMemory" in type(error).__name__:
        return True
    text = text_of(error).lower()
    return any(words in text for words in OUT_OF_MEMORY)

"""What goes wrong with a results store, and how it is said."""

import errno
import sqlite3

from labrun.config.credentials import masked
from labrun.errors import LabError

SHUT = ("SQLITE_CANTOPEN", "SQLITE_READONLY", "SQLITE_PERM")
DAMAGE = ("SQLITE_NOTADB", "SQLITE_CORRUPT")
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def reason_of(error: BaseException) -> str:
    """The error's first line, or its kind if it has no text."""
    return masked((str(error).strip() or type(error).__name__).splitlines()[0])


def unusable(where: str, error: BaseException) -> LabError:
    """The error for a store that cannot be reached, read or written now."""
    name = getattr(error, "sqlite_errorname", None) or ""
    hint = "; may you read and write it?" if name.startswith(SHUT) else ""
    return LabError(f"the results store {masked(where)} cannot be used: {reason_of(error)}{hint}")


def is_damage(error: BaseException) -> bool:
    """Whether sqlite says that the file is damaged or no database."""
    name = getattr(error, "sqlite_errorname", None) or ""
    return isinstance(error, sqlite3.DatabaseError) and name.startswith(DAMAGE)


def is_down(error: BaseException) -> bool:
    """Whether the store itself cannot be reached or written, rather than one run of it."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ConnectionError | TimeoutError | sqlite3.OperationalError):
            return True
        if isinstance(cause, OSError) and cause.errno in FULL:
            return True
        if is_damage(cause) or type(cause).__module__.split(".")[0] in ("requests", "urllib3"):
            return True
        cause = cause.__cause__ or cause.__context__
    return False

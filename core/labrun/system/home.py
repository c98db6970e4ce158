"""What must hold of LABRUN_HOME before a command writes there."""

import fcntl
import os
import tempfile
from pathlib import Path

from labrun.errors import LabError, shown
from labrun.system.json_files import reason
from labrun.system.paths import LONGEST_PART

NEXT = "set LABRUN_HOME to a folder that you can write"


def refuse_unwritable(home: Path) -> None:
    """Raise LabError, before any work, where this user can write no run to `home`."""
    if fault := fault_of(home):
        raise LabError(f"{fault}; {NEXT}")


def refuse_lockless(home: Path) -> None:
    """Raise LabError where no file in `home` can be locked; OSError where none can be made."""
    there = nearest(home)
    with tempfile.NamedTemporaryFile(dir=there, prefix=".lock-") as probe:
        try:
            fcntl.flock(probe, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise lockless(there, error) from error


def lockless(folder: Path, error: OSError) -> LabError:
    """The error for a folder whose file system refuses to lock a file."""
    return LabError(
        f"the file system of {folder} gives no locks ({reason(error)}); mount it with flock, or "
        "set LABRUN_HOME to a folder that has them"
    )


def fault_of(home: Path) -> str:
    """Why no run can be written to `home`, or nothing."""
    if any(len(os.fsencode(part)) > LONGEST_PART for part in home.parts):
        return f"{shown(str(home))} holds a name of more than {LONGEST_PART} bytes"
    if not _is_utf8(home):
        return f"{shown(str(home))} is no UTF-8 text"
    there = nearest(home)
    if not there.is_dir():
        return f"{there} is no folder"
    if os.access(there, os.R_OK | os.W_OK | os.X_OK):
        return ""
    what = "is read-only or another user's"
    return f"{home} {what}" if there == home else f"cannot make {home}: {there} {what}"


def _is_utf8(home: Path) -> bool:
    """Whether the name is one that the results store can hold."""
    try:
        str(home).encode()
    except UnicodeEncodeError:
        return False
    return True


def nearest(home: Path) -> Path:
    """`home`, or the first folder above it that is there."""
    return next(path for path in (home, *home.parents) if os.path.lexists(path))

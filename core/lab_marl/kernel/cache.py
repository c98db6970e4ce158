"""The folder that holds compiled kernels, and which files in it are loaded."""

import ctypes
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from labrun.errors import LabError

NEXT = "set XDG_CACHE_HOME to a folder of your own"


def folder() -> Path:
    """The user's cache folder of kernels; it need not be there yet."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache.absolute() / "labrun" / "kernels"


def fault() -> str:
    """Why no kernel can be kept or trusted here, or nothing. It makes no folder."""
    try:
        place = folder()
    except RuntimeError:  # nobody knows this user, as in some containers
        return f"this user has no home, and so no place for compiled kernels; {NEXT}"
    try:
        if os.path.lexists(place):
            with _opened(place):
                return ""
        above = next(path for path in place.parents if os.path.lexists(path))
    except LabError as error:
        return str(error)
    except OSError as error:
        return f"the folder of compiled kernels {place} cannot be used: {error.strerror}; {NEXT}"
    if above.is_dir() and os.access(above, os.W_OK | os.X_OK):
        return ""
    return f"the folder of compiled kernels {place} cannot be made in {above}; {NEXT}"


def make() -> Path:
    """The folder, made where there is none, of mode 0700. Raises LabError for one not to trust."""
    place = folder()
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise LabError(
            f"the folder of compiled kernels {place} cannot be made: {error.strerror}; {NEXT}"
        ) from error
    with _opened(place):
        return place


def load(name: str) -> ctypes.CDLL | None:
    """The library of that name; None where there is none.

    It is opened through the folder that was checked, so that nobody can put another in its place.
    Raises LabError for a file that is a link, is another user's, or may be written by others.
    """
    place = folder()
    if not os.path.lexists(place):
        return None
    with _opened(place) as handle:
        try:
            info = os.stat(name, dir_fd=handle, follow_symlinks=False)
        except FileNotFoundError:
            return None
        if reason := _file_fault(info):
            raise LabError(f"the compiled kernel {place / name} {reason}; remove it, or {NEXT}")
        try:
            return ctypes.CDLL(f"/proc/self/fd/{handle}/{name}")
        except OSError as error:
            raise LabError(
                f"the compiled kernel {place / name} is damaged or cannot be loaded here: "
                f"{_reason(error)}; remove it, or {NEXT}"
            ) from error


@contextmanager
def _opened(place: Path) -> Iterator[int]:
    """A handle of the folder. Raises LabError for a link, another user's, or one that others may
    write."""
    try:
        handle = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError as error:
        reason = "is a symbolic link" if place.is_symlink() else f"cannot be used: {error.strerror}"
        raise LabError(f"the folder of compiled kernels {place} {reason}; {NEXT}") from error
    try:
        if reason := _owner_fault(os.fstat(handle)):
            raise LabError(f"the folder of compiled kernels {place} {reason}; remove it, or {NEXT}")
        yield handle
    finally:
        os.close(handle)


def _file_fault(info: os.stat_result) -> str:
    if not stat.S_ISREG(info.st_mode):
        return "is a symbolic link" if stat.S_ISLNK(info.st_mode) else "is no file"
    return _owner_fault(info)


def _owner_fault(info: os.stat_result) -> str:
    if info.st_uid != os.geteuid():
        return f"belongs to user {info.st_uid}"
    if info.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return f"may be written by others (mode {stat.S_IMODE(info.st_mode):04o})"
    return ""


def _reason(error: OSError) -> str:
    """The loader's words, without the name that only this process has."""
    return str(error).rsplit(": ", 1)[-1]

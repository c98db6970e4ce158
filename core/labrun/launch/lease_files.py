"""The lock files behind leases: where they lie, which of them are trusted, who holds one."""

import fcntl
import functools
import json
import os
import pwd
import stat
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from labrun.errors import LabError
from labrun.launch.lock_holders import MARK, holder_of, lock, record_of, strays

PLACES = ("/run/lock", "/dev/shm", "/var/tmp")
"""Folders of the machine itself, none of which TMPDIR moves. The first two live in memory, so that
a restart clears them and no cleaner by age visits them."""
OTHER = "or set LABRUN_LEASES to a folder of your own on this machine"
MAKING_S = 2.0
"""How long a command waits while another one makes a lock file."""


def lease_folder() -> Path:
    """One folder a user and machine, whatever TMPDIR says: two `lab` commands never share a GPU.

    LABRUN_LEASES names another. Raises LabError where the machine has no place for it.
    """
    if wanted := os.environ.get("LABRUN_LEASES"):
        return Path(wanted).absolute()
    for place in PLACES:
        if _is_shared(place):
            return Path(place) / f"labrun-{os.geteuid()}"
    raise LabError(f"no place for leases: none of {', '.join(PLACES)} can be written; {OTHER[3:]}")


def _is_shared(place: str) -> bool:
    """Whether this user may make a folder there that no other user can rename."""
    if not os.path.isdir(place) or not os.access(place, os.W_OK | os.X_OK):
        return False
    mode = os.stat(place).st_mode
    return bool(mode & stat.S_ISVTX) or not mode & (stat.S_IWGRP | stat.S_IWOTH)


class ForeignFileError(Exception):
    """What lies at a lock's place is not this user's lock file; it is neither read nor written."""


@dataclass(frozen=True)
class LockFiles:
    """The lock files of one folder, as they stand during one look at them."""

    folder: Path

    def check(self, names: Iterable[str]) -> None:
        """Raise LabError where the folder, or what lies at the place of a lock, is not to be
        trusted."""
        with self._opened() as folder:
            for name in names:
                try:
                    handle = _open(folder, name)
                except ForeignFileError as fault:
                    raise LabError(f"{self.folder / name} {fault}; remove it, {OTHER}") from fault
                if handle is not None:
                    os.close(handle)

    def take(self, name: str, *, holder: str) -> int | None:
        """An open handle that holds the lock, or None where another one does."""
        with self._opened() as folder:
            try:
                handle = self._locked(folder, name)
            except ForeignFileError:  # `check` and `holder` name it
                return None
        if handle is not None:
            self._sign(handle, name, holder)
        return handle

    def holder(self, name: str) -> str | None:
        """Who holds the lock now, or None."""
        try:
            folder = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:
            return self._strays.get(name)
        try:
            handle = _open(folder, name)
        except ForeignFileError as fault:
            return f"nobody, but {self.folder / name} {fault}"
        finally:
            os.close(folder)
        if handle is None:
            return self._strays.get(name)
        try:
            if not lock(handle, fcntl.LOCK_SH):
                return holder_of(handle)
            ours = self._is_ours(handle, name)
        finally:
            os.close(handle)
        return None if ours else self._strays.get(name)

    def _locked(self, folder: int, name: str) -> int | None:
        handle = _open(folder, name)
        if handle is not None:
            if not lock(handle, fcntl.LOCK_EX):
                os.close(handle)
                return None
            if self._is_ours(handle, name):
                return handle
            os.close(handle)
        return self._made(folder, name)

    def _made(self, folder: int, name: str) -> int | None:
        """The lock of a file that is new, or that is not the one which was last locked here.

        One command at a time does this. A job may still hold the file that lay here before a
        cleaner or somebody removed it.
        """
        if not _lock_soon(folder):
            return None
        try:
            handle = _open(folder, name, create=True)
            if handle is None:  # the folder was removed at this moment; the next try makes it
                return None
            free = lock(handle, fcntl.LOCK_EX) and self._is_in_place(handle, name)
            if free and name not in self._strays:
                return handle
            os.close(handle)
            return None
        finally:
            fcntl.flock(folder, fcntl.LOCK_UN)

    def _is_ours(self, handle: int, name: str) -> bool:
        """Whether the locked file lies in its place and is the one that was last locked there."""
        record = record_of(handle)
        signed = (record.get(MARK), record.get("inode"))
        is_ours = signed == (self._path(name), os.fstat(handle).st_ino)
        return is_ours and self._is_in_place(handle, name)

    def _is_in_place(self, handle: int, name: str) -> bool:
        """Whether the file that was locked is still the one that the next command opens."""
        try:
            there = os.stat(self.folder / name, follow_symlinks=False)
        except OSError:
            return False
        return os.path.samestat(os.fstat(handle), there)

    def _path(self, name: str) -> str:
        return os.path.join(os.path.realpath(self.folder), name)

    def _sign(self, handle: int, name: str, holder: str) -> None:
        """Write who holds the lock; where the disk is full, the lock holds without a word."""
        record = {MARK: self._path(name), "inode": os.fstat(handle).st_ino}
        text = json.dumps(record | {"holder": holder, "pid": os.getpid()}) + "\n"
        with suppress(OSError):
            os.pwrite(handle, text.encode(), 0)
            os.ftruncate(handle, len(text.encode()))

    @functools.cached_property
    def _strays(self) -> dict[str, str]:
        """Lock -> holder, of the locks that are held through a file which lies here no more."""
        return strays(self.folder)

    @contextmanager
    def _opened(self) -> Iterator[int]:
        """The folder, made where there is none.

        Raises LabError where it is a link, is another user's or may be written by others.
        """
        try:
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileExistsError):
                os.mkdir(self.folder, 0o700)
            handle = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError as error:
            link = os.path.islink(self.folder)
            fault = "is a symbolic link" if link else f"cannot be used: {error.strerror}"
            raise LabError(f"the lease folder {self.folder} {fault}; remove it, {OTHER}") from error
        try:
            if fault := _folder_fault(os.fstat(handle)):
                raise LabError(f"the lease folder {self.folder} {fault}, {OTHER}")
            yield handle
        finally:
            os.close(handle)


def _folder_fault(info: os.stat_result) -> str:
    """Why no lock in this folder can be trusted, or nothing."""
    if info.st_uid != os.geteuid():
        return f"belongs to user {_user(info.st_uid)}; remove it"
    if info.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return f"may be written by others (mode {stat.S_IMODE(info.st_mode):04o}); chmod 700 it"
    return ""


def _open(folder: int, name: str, *, create: bool = False) -> int | None:
    """A handle of the lock file, which follows no link; None where there is no file.

    Raises ForeignFileError where it is not a lock file of this user.
    """
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | (os.O_CREAT if create else 0)
    try:
        handle = os.open(name, flags, 0o600, dir_fd=folder)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ForeignFileError(_unopened(folder, name, error)) from error
    if fault := _file_fault(handle):
        os.close(handle)
        raise ForeignFileError(fault)
    if stat.S_IMODE(os.fstat(handle).st_mode) & 0o077:
        os.fchmod(handle, 0o600)
    return handle


def _unopened(folder: int, name: str, error: OSError) -> str:
    with suppress(OSError):
        if stat.S_ISLNK(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
            return "is a symbolic link"
    return f"cannot be opened: {error.strerror}"


def _file_fault(handle: int) -> str:
    """Why the file is no lock file of this user, or nothing."""
    info = os.fstat(handle)
    if not stat.S_ISREG(info.st_mode):
        return "is no file"
    if info.st_uid != os.geteuid():
        return f"belongs to user {_user(info.st_uid)}"
    return "has another name elsewhere" if info.st_nlink > 1 else ""


def _lock_soon(folder: int) -> bool:
    """Whether the folder was locked within MAKING_S; whoever holds it longer holds up nobody."""
    deadline = time.monotonic() + MAKING_S
    while not lock(folder, fcntl.LOCK_EX):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)

"""The compiled kernel of one size: built on first use, kept in the user's cache folder."""

import ctypes
import functools
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
from pathlib import Path

from filelock import FileLock
from labrun.errors import LabError

from lab_marl.kernel import cache

SOURCES = (
    *("unroll.cpp", "ends.h", "block.h", "attention.h", "matrices.h", "products.h", "vectors.h"),
)
FLAGS = ("-std=c++17", "-O3", "-march=native", "-fno-math-errno", "-fPIC", "-shared")
COMPILE_TIMEOUT_S = 600
VERSION_TIMEOUT_S = 30


def lacking() -> str:
    """Why this machine cannot build the kernel; empty where it can. Compiles nothing."""
    if platform.machine() not in ("x86_64", "AMD64") or "avx2" not in processor():
        return "it is for x86-64 processors with AVX2"
    if not _compiler():
        return "no C++ compiler: g++ is not on PATH and CXX is not set to one that is"
    return cache.fault()


@functools.cache
def processor() -> tuple[str, ...]:
    """The features of the processor, as /proc/cpuinfo names them; nothing where that is missing."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ()
    flags = (line.split(":", 1)[1] for line in lines if line.startswith("flags"))
    return tuple(sorted(next(flags, "").split()))


def library(width: int, hidden: int) -> ctypes.CDLL:
    """The kernel for tokens of `width` numbers and `hidden` units of a feed-forward net.

    One of several processes compiles it, and the others wait. Raises LabError where it cannot be
    built or loaded.
    """
    name = _name(width, hidden)
    if (kept := cache.load(name)) is not None:
        return kept
    path = cache.make() / name
    try:
        with FileLock(f"{path}.lock", timeout=COMPILE_TIMEOUT_S, mode=0o600):
            if not path.exists():
                _compile(path, width, hidden)
    except (OSError, NotImplementedError) as error:  # the second: a disk without locks
        raise LabError(
            f"the compiled kernel cannot be kept in {path.parent}: {error}; make room there, or "
            f"{cache.NEXT}"
        ) from error
    made = cache.load(name)
    if made is None:
        raise LabError(f"the compiled kernel {path} was removed at once; {cache.NEXT}")
    return made


def _name(width: int, hidden: int) -> str:
    """The library's name, which changes with the source, the compiler and the processor."""
    parts = [*_sources(), *FLAGS, *_compiler(), _version(), *processor(), f"{width} {hidden}"]
    digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
    return f"unroll-{digest}.so"


def _sources() -> list[str]:
    return [(Path(__file__).parent / name).read_text() for name in SOURCES]


def _compiler() -> list[str]:
    """The compiler and its arguments, as CXX names them; nothing where there is none."""
    named = os.environ.get("CXX") or "g++"
    if whole := shutil.which(named):  # a path may hold spaces
        return [whole]
    try:
        words = shlex.split(named)
    except ValueError:
        return []
    program = shutil.which(words[0]) if words else None
    return [program, *words[1:]] if program else []


def _version() -> str:
    return _ran([*_compiler(), "--version"], timeout_s=VERSION_TIMEOUT_S).stdout


def _compile(path: Path, width: int, hidden: int) -> None:
    draft = path.with_suffix(f".{os.getpid()}.draft")
    command = [*_compiler(), *FLAGS, f"-DWIDTH={width}", f"-DHIDDEN={hidden}"]
    command += [str(Path(__file__).parent / SOURCES[0]), "-o", str(draft)]
    try:
        done = _ran(command, timeout_s=COMPILE_TIMEOUT_S)
        if done.returncode or not draft.exists():
            lines = done.stderr.splitlines()
            said = next((line for line in lines if "error" in line), next(iter(lines), ""))
            raise LabError(
                f"{command[0]} cannot compile the kernel: "
                f"{said or f'it ended with code {done.returncode}'}; mend the compiler or set "
                "kernel=torch"
            )
        draft.chmod(0o700)  # whatever the umask: no file that others may write is loaded
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _ran(command: list[str], *, timeout_s: float) -> subprocess.CompletedProcess[str]:
    """The compiler's end. Raises LabError where it cannot be started or does not end."""
    try:
        return subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=timeout_s
        )
    except OSError as error:
        reason = f"cannot be started: {error.strerror}"
    except subprocess.TimeoutExpired:
        reason = f"did not end in {timeout_s} s"
    raise LabError(f"{command[0]} {reason}; mend the compiler or set kernel=torch")

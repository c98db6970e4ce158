"""The compiled kernel of one size: built on first use, kept in the user's cache folder."""

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
from pathlib import Path

from filelock import FileLock
from labrun.errors import LabError

SOURCES = ("unroll.cpp", "block.h", "products.h")
FLAGS = ("-std=c++17", "-O3", "-march=native", "-fno-math-errno", "-fPIC", "-shared")
COMPILE_TIMEOUT_S = 600


def lacking() -> str:
    """Why this machine cannot build the kernel; empty where it can."""
    if platform.machine() not in ("x86_64", "AMD64") or "avx2" not in processor():
        return "it is for x86-64 processors with AVX2"
    if _compiler() is None:
        return "no C++ compiler: g++ is not on PATH and CXX is not set to one that is"
    return ""


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
    path = _cached(width, hidden)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{path}.lock"):
            if not path.exists():
                _compile(path, width, hidden)
        return ctypes.CDLL(str(path))
    except OSError as error:
        raise LabError(
            f"the compiled kernel cannot be kept or loaded: {error}; make {path.parent} writable, "
            "set XDG_CACHE_HOME to another folder, or trainer.kernel=torch"
        ) from error


def _cached(width: int, hidden: int) -> Path:
    """The library's place; its name changes with the source, the compiler and the processor."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "labrun"
    parts = [*_sources(), *FLAGS, _version(), *processor(), f"{width} {hidden}"]
    digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
    return folder / f"stairs-kernel-{digest}.so"


def _sources() -> list[str]:
    return [(Path(__file__).parent / name).read_text() for name in SOURCES]


def _compiler() -> str | None:
    return shutil.which(os.environ.get("CXX") or "g++")


def _version() -> str:
    done = subprocess.run([_compiler() or "g++", "--version"], capture_output=True, text=True)
    return done.stdout


def _compile(path: Path, width: int, hidden: int) -> None:
    draft = path.with_suffix(f".{os.getpid()}.draft")
    command = [_compiler() or "g++", *FLAGS, f"-DWIDTH={width}", f"-DHIDDEN={hidden}"]
    command += [str(Path(__file__).parent / SOURCES[0]), "-o", str(draft)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=COMPILE_TIMEOUT_S)
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if "error" in line]
            said = (lines or done.stderr.splitlines() or ["it says nothing"])[0]
            raise LabError(
                f"{command[0]} cannot compile the kernel: {said}; mend the compiler or set "
                "trainer.kernel=torch"
            )
        draft.replace(path)
    except subprocess.TimeoutExpired:
        raise LabError(
            f"{command[0]} did not compile the kernel in {COMPILE_TIMEOUT_S} s; set "
            "trainer.kernel=torch"
        ) from None
    finally:
        draft.unlink(missing_ok=True)

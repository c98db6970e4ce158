"""The one process in which this process's battles of SMAX step.

JAX has a process of its own, so that its threads, its memory and its view of a GPU never meet
torch's: importing it takes 5 CPU seconds, 16 threads and 0.5 GiB. What it compiles is kept in the
user's cache folder: 20 CPU seconds a task the first time, 4 afterwards.
"""

import atexit
import hashlib
import os
import platform
import signal
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

from labrun.errors import LabError

WORKER = "lab_marl.environments.smax.worker"
DONE, UNIMPORTED, FAILED = "done", "unimported", "failed"
"""How an answer begins: with the answer, why an import failed, or a traceback behind it."""
PATIENCE_S = 900.0
"""Seconds that an answer may take at most; the first ones import JAX and compile."""


class SmaxProcess:
    """A process that steps battles; it starts with the first request and ends with this one."""

    def __init__(self, module: str = WORKER) -> None:
        self._module, self._owner = module, os.getpid()
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._number = 0
        self.unneeded: list[int] = []
        """Numbers of battles that may be forgotten; told with the next request."""
        atexit.register(self.close)

    def new_number(self) -> int:
        """A number for new battles."""
        self._number += 1
        return self._number

    def ask(self, name: str, number: int, value: Any = None) -> Any:
        """The process's answer about the battles `number`.

        Raises LabError where JAX or JaxMARL cannot be imported, and RuntimeError where the process
        fails, ends, or is silent for `PATIENCE_S`.
        """
        with self._lock:
            if self._process is None:
                self._start()
            unneeded, self.unneeded[:] = tuple(self.unneeded), []
            kind, answer = self._answer((unneeded, name, number, value))
        if kind == UNIMPORTED:
            raise LabError(f"SMAX cannot be imported: {answer}; run: pip install 'labrun[smax]'")
        if kind == FAILED:
            raise RuntimeError(f"SMAX failed in its own process:\n{answer}")
        return answer

    def close(self) -> None:
        """End the process; the next request would start a new one, without its battles."""
        if self._process is not None and self._owner == os.getpid():
            self._process.kill()
            self._process.wait()
            self._process = None
            self._pipe.close()
            self._errors.close()

    def _start(self) -> None:
        self._pipe, theirs = Pipe()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", self._module, str(theirs.fileno()), str(os.getpid())],
                env=environment_of(os.environ, kept_in=compiled_folder()),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._errors,
                pass_fds=[theirs.fileno()],
            )

    def _answer(self, request: object) -> tuple[str, Any]:
        try:
            self._pipe.send(request)
            if self._pipe.poll(PATIENCE_S):
                return self._pipe.recv()
        except (EOFError, OSError) as error:
            raise RuntimeError(f"the process of SMAX {self._ending()}") from error
        self.close()
        raise RuntimeError(f"the process of SMAX gave no answer for {PATIENCE_S:g} s")

    def _ending(self) -> str:
        """How the process ended, with its last words."""
        assert self._process is not None
        code = self._process.wait()
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        self.close()
        return f"{how}: {lines[-1]}" if lines else how


def environment_of(variables: Mapping[str, str], *, kept_in: Path) -> dict[str, str]:
    """The variables of the process: none of JAX's own but these, so that equal seeds give equal
    episodes whatever a user's shell says."""
    kept = {name: value for name, value in variables.items() if name[:4] not in ("JAX_", "XLA_")}
    return kept | {
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
        "JAX_COMPILATION_CACHE_DIR": str(kept_in),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }


def compiled_folder() -> Path:
    """The folder of compiled programs for this kind of processor, made where there is none.

    Raises LabError where it cannot be made, or others could put programs there.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").absolute()
    folder = cache / "labrun" / f"smax-{_processor()}"
    next_step = "set XDG_CACHE_HOME to a folder of your own"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        info = folder.lstat()
    except OSError as error:
        raise LabError(f"cannot make {folder}: {error.strerror}; {next_step}") from error
    shared = info.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    if not stat.S_ISDIR(info.st_mode) or info.st_uid != os.geteuid() or shared:
        raise LabError(
            f"{folder} is to hold compiled programs, but is not a folder that only you may write; "
            f"remove it, or {next_step}"
        )
    return folder


def _processor() -> str:
    """A name of this kind of processor: a program compiled for another may not run."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    features = [line for line in lines if line.startswith(("model name", "flags", "Features"))]
    text = "\n".join([platform.machine(), *sorted(set(features))])
    return hashlib.sha256(text.encode()).hexdigest()[:12]


_shared = SmaxProcess()
_owner = os.getpid()


def shared() -> SmaxProcess:
    """The process of this process; one that forked from another has its own."""
    global _shared, _owner
    if _owner != os.getpid():
        _shared, _owner = SmaxProcess(), os.getpid()
    return _shared

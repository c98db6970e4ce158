"""Which new processes may be forks, and how `subprocess` gets them."""

import ctypes
import os
import pickle
import resource
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

from forked import request as requests
from forked.process import ignored_signals
from forked.request import Request

SUPPORT = Path(__file__).parents[1]
OURS = ("labrun", "lab_llm", "lab_marl", "lab_epistemic", "lab_rlrt", "lab_stairs")
SOURCES = SUPPORT.parents[1] / "core/labrun/__init__.py"
STARTING = ("labrun.cli", "labrun.launch.job", "campaign", "gpu", "gpu.section")
"""Modules that start processes."""
MODULES = (*STARTING, "labrun.worker", "labrun.results.store")
LOOKS = {"plugins", "--help", "--version"}
"""Words of commands that start fast and may look at what is imported: never a fork."""
TEST_PROCESS = "import sys;exec(eval(sys.stdin.readline()))"
"""What a process of pytest-xdist runs."""
SET = {
    "DISABLE_MLFLOW_INTEGRATION": "TRUE",
    "HF_HUB_OFFLINE": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "MPLBACKEND": "Agg",
    "OMP_WAIT_POLICY": "PASSIVE",
    "TOKENIZERS_PARALLELISM": "false",
    "MKL_NUM_THREADS": "1",
}
"""Variables of the server that a job, or a trial of a kill, has, too; a process may lack them."""
READ_EARLY = (
    *("PYTHON", "LC_", "LANG", "HOME", "XDG_", "TZ", "LD_", "MALLOC", "GLIBC"),
    *("HF_", "TRANSFORMERS", "TRL", "TORCH", "PYTORCH", "ACCELERATE", "DISABLE_", "TOKENIZERS"),
    *("OMP_", "MKL_", "KMP_", "OPENBLAS", "NUMEXPR", "MPL"),
    *("TERM", "COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "TTY_"),
)
"""How the variables begin that Python or a library reads when it is imported: a process that has
others than the server is no fork, but for some. PYTHONPATH is looked at by itself."""
NOT_COMPARED = ("PYTHONPATH", "FORKED_ROOM", "KMP_INIT_AT_FORK", "KMP_DUPLICATE_LIB_OK")
"""scikit-learn sets the last two in every process that imports it."""
PR_SET_CHILD_SUBREAPER, PR_GET_CHILD_SUBREAPER = 36, 37
REAL = subprocess._fork_exec  # pyright: ignore

_variables: dict[str, str] = {}
"""Those of the server."""
_door: socket.socket | None = None
_server = 0
"""Its process."""
_asking = threading.Lock()


class Replaced(BaseException):
    """Raised where a program would replace this one: its words."""

    def __init__(self, words: Sequence[str]) -> None:
        super().__init__(words)
        self.words = words


def be_the_server() -> None:
    """Note the variables that this process began with."""
    _variables.update(os.environ)


def have_a_server(tests: Sequence[str] = ()) -> None:
    """Start one for this process if it has none, and let `subprocess` ask it.

    It imports the tests that pytest collects by these words, if there are any.
    """
    if _door is not None:
        return
    door, inside = socket.socketpair()
    room = {"FORKED_ROOM": "." * 65536}
    command = [sys.executable, str(SUPPORT / "forked" / "server.py"), str(inside.fileno())]
    _variables.update({**SET, **os.environ})
    server = subprocess.Popen(
        [*command, *tests, "." * 8192],
        env={**_variables, **room},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        pass_fds=[inside.fileno()],
    )
    inside.close()
    server.returncode = 0  # `end_the_server` waits for it, or it ends with this process
    have(door, server.pid)


def have(door: socket.socket, server: int) -> None:
    """Let `subprocess` ask the server, a child of this process, behind this door."""
    global _door, _server
    _door, _server = door, server
    subprocess._fork_exec = _fork_exec  # pyright: ignore


def end_the_server() -> None:
    """End this process's server, if there is one: its CPU seconds become those of a child."""
    global _door
    if _door is not None:
        subprocess._fork_exec = REAL  # pyright: ignore
        _door.shutdown(socket.SHUT_RDWR)
        os.waitpid(_server, 0)
        _door.close()
        _door = None


@contextmanager
def cold() -> Iterator[None]:
    """While entered, no process that this one starts is a fork."""
    subprocess._fork_exec = REAL  # pyright: ignore
    yield
    if _door is not None:
        subprocess._fork_exec = _fork_exec  # pyright: ignore


def is_supervisor(words: Sequence[str]) -> bool:
    return words[1:3] == ["-I", "-S"] and words[3].endswith("/labrun/launch/supervisor.py")


def is_test_process(words: Sequence[str]) -> bool:
    return words[1:] == ["-u", "-c", TEST_PROCESS]


def starts_others(words: Sequence[str]) -> bool:
    """Whether the program starts processes that may be forks."""
    if words[1] == "-m" and words[2] == "labrun.worker":
        return _has_ranks(Path(words[3])) and "RANK" not in os.environ
    return is_test_process(words) or (words[1] == "-m" and words[2] in STARTING)


def _has_ranks(run: Path) -> bool:
    with suppress(OSError):
        return '"num_processes": 1' not in (run / "spec.json").read_text()
    return False


def replaced(program: str, words: Sequence[str]) -> NoReturn:
    """os.execv of a supervisor that is a fork."""
    if may_be_fork(words, os.environ, os.getcwd()):
        raise Replaced(words)
    os.execve(program, words, os.environ)


def may_be_fork(words: Sequence[str], variables: Mapping[str, str], folder: str) -> bool:
    """Whether a fork would run these words as a new process does."""
    if words[0] != sys.executable or len(words) < 2:
        return False
    if is_supervisor(words):
        return may_be_fork(words[7:], variables, folder)
    known = (
        (words[1] == "-m" and words[2] in MODULES and not {*words} & LOOKS)
        or is_test_process(words)
        or words[1].startswith(f"{SUPPORT}/")
    )
    return known and _reads_alike(variables) and _has_these_sources(variables, folder)


def _reads_alike(variables: Mapping[str, str]) -> bool:
    early = [name for name in {*variables, *_variables} if name.startswith(READ_EARLY)]
    return all(
        variables.get(name) == _variables.get(name) or (name in SET and name not in variables)
        for name in early
        if name not in NOT_COMPARED
    )


def _has_these_sources(variables: Mapping[str, str], folder: str) -> bool:
    searched = [folder, *variables.get("PYTHONPATH", "").split(os.pathsep)]
    found = [path for entry in searched if (path := Path(entry, "labrun/__init__.py")).exists()]
    return not found or found[0].samefile(SOURCES)


def _fork_exec(*given: Any) -> int:
    """What subprocess's own does, by the server where that may be."""
    asked = _request(*given)
    return REAL(*given) if asked is None else _fork(*asked)


def _request(*given: Any) -> tuple[Request, list[int]] | None:
    words, programs, closes, kept, folder, variables = given[:6]
    stdin, _, _, stdout, _, stderr, _, errors = given[6:14]
    _, new_session, group, gid, gids, uid, umask, before = given[14:22]
    words = [os.fsdecode(word) for word in words]
    folder = os.fsdecode(folder) if folder else os.getcwd()
    pairs = [os.fsdecode(pair).partition("=") for pair in variables or ()]
    has = {name: value for name, _, value in pairs} if variables is not None else {**os.environ}
    is_plain = closes and programs == (os.fsencode(sys.executable),)
    if not is_plain or (gid, gids, uid) != (None, None, None):
        return None
    if not may_be_fork(words, has, folder) or not _can_be_sent(before):
        return None
    files = {handle: handle for handle in (0, 1, 2) if _is_open(handle)}
    files |= {to: one for to, one in enumerate((stdin, stdout, stderr)) if one >= 0}
    files |= {handle: handle for handle in kept}
    if len(files) > requests.MOST_HANDLES:
        return None
    request = Request(
        words=words,
        variables=has,
        folder=folder,
        parent=os.getpid(),
        group=os.getpgrp(),
        handles=list(files),
        errors=errors,
        ignored=ignored_signals(),
        blocked=[int(number) for number in signal.pthread_sigmask(signal.SIG_BLOCK, [])],
        limits=_limits(),
        umask=umask if umask >= 0 else _umask(),
        new_session=bool(new_session),
        new_group=group,
        before=before,
    )
    return request, list(files.values())


def _can_be_sent(before: Any) -> bool:
    """Whether the server can import what is to be called before the program."""
    if before is None:
        return True
    with suppress(pickle.PicklingError, AttributeError):
        pickle.dumps(before)
        return before.__module__.partition(".")[0] in OURS
    return False


def _is_open(handle: int) -> bool:
    try:
        os.fstat(handle)
    except OSError:
        return False
    return True


def _limits() -> dict[int, tuple[int, int]]:
    names = [name for name in dir(resource) if name.startswith("RLIMIT_")]
    return {(one := getattr(resource, name)): resource.getrlimit(one) for name in names}


def _umask() -> int:
    with open("/proc/self/status") as status:
        (line,) = [line for line in status if line.startswith("Umask:")]
    return int(line.split()[1], 8)


def _fork(request: Request, files: Sequence[int]) -> int:
    """The pid of a new child of this process. The server's fork loses its parent while this
    process takes in orphans."""
    assert _door is not None
    prctl, takes = ctypes.CDLL(None).prctl, ctypes.c_int()
    with _asking:
        prctl(PR_GET_CHILD_SUBREAPER, ctypes.byref(takes))
        prctl(PR_SET_CHILD_SUBREAPER, 1)
        try:
            requests.send(_door, request, files)
            answer = _door.recv(20, socket.MSG_WAITALL)
        finally:
            prctl(PR_SET_CHILD_SUBREAPER, takes.value)
    return int(answer)

"""What the kernel and Python do when a new program starts, done to a fork."""

import atexit
import builtins
import ctypes
import fcntl
import gc
import importlib
import io
import os
import resource
import runpy
import signal
import sys
import tempfile
import threading
import types
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import NoReturn, TextIO

from forked.request import Request

SETTABLE = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}
OF_PYTHON = {
    signal.SIGINT: signal.default_int_handler,
    signal.SIGPIPE: signal.SIG_IGN,
    signal.SIGXFSZ: signal.SIG_IGN,
}
"""How Python handles signals from its start on."""
CODING = {
    name: (stream.encoding, stream.errors)
    for name in ("stdin", "stdout", "stderr")
    if (stream := getattr(sys, f"__{name}__"))
}
PR_SET_MM, ARG_END, ENV_END = 35, 9, 11
LIBRARIES = [
    path for path in sys.path[1:] if path not in os.environ.get("PYTHONPATH", "").split(":")
]


def begin(request: Request, files: Sequence[int]) -> None:
    """Make this fork the process that is asked for, up to its program; what fails is told there.

    Signals are still blocked.
    """
    _place(request, files)
    try:
        _join(request)
    except OSError as error:
        os.write(request.errors, f"OSError:{error.errno:x}:noexec".encode())
        os._exit(255)
    except BaseException:
        os.write(request.errors, b"SubprocessError:0:Exception occurred in preexec_fn.")
        os._exit(255)
    os.environ.clear()
    os.environ.update(request.variables)
    _reset_signals(request.ignored)
    show(request.words, request.variables)  # whoever started it may look for these at once
    os.close(request.errors)


def _place(request: Request, files: Sequence[int]) -> None:
    """Give each file its number and close all others."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    lowest = max(request.handles) + 1
    high = [fcntl.fcntl(file, fcntl.F_DUPFD_CLOEXEC, lowest) for file in files]
    for handle in set(open_handles()) - set(high):
        os.close(handle)
    for file, handle in zip(high, request.handles, strict=True):
        os.dup2(file, handle)
        os.close(file)
    os.set_inheritable(request.errors, False)


def _join(request: Request) -> None:
    os.chdir(request.folder)
    os.umask(request.umask)
    if request.new_session:
        os.setsid()
    elif os.getpgrp() != request.group:
        os.setpgid(0, request.group)
    if request.new_group >= 0:
        os.setpgid(0, request.new_group)
    for name, limit in request.limits.items():
        resource.setrlimit(name, limit)
    if request.before is not None:
        request.before()


def open_handles() -> list[int]:
    """The numbers of this process's open files."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):  # that of the listing
            fcntl.fcntl(int(name), fcntl.F_GETFD)
            found.append(int(name))
    return found


def ignored_signals() -> list[int]:
    """What a program that is started here finds ignored. Python ignores two for itself alone."""
    own = {number for number, handler in OF_PYTHON.items() if handler == signal.SIG_IGN}
    return [n for n in SETTABLE - own if signal.getsignal(n) == signal.SIG_IGN]


def _reset_signals(ignored: Sequence[int]) -> None:
    for number in SETTABLE:
        wanted = OF_PYTHON.get(number, signal.SIG_DFL)
        wanted = signal.SIG_IGN if number in ignored else wanted
        if signal.getsignal(number) != wanted:
            signal.signal(number, wanted)


def replace() -> None:
    """Do to this process what execv does: close handles, and forget how signals are handled."""
    for handle in open_handles():
        if fcntl.fcntl(handle, fcntl.F_GETFD) & fcntl.FD_CLOEXEC:
            os.close(handle)
    _reset_signals(ignored_signals())


def run(words: Sequence[str]) -> None:
    """Run `[python, *words]` as Python does: in a fresh `__main__`, with streams of its own."""
    show(words, os.environ)
    is_buffered = "-u" not in words[1:2] and not os.environ.get("PYTHONUNBUFFERED")
    for name, handle in (("stdin", 0), ("stdout", 1), ("stderr", 2)):
        stream = _stream(handle, name, is_buffered=is_buffered)
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    tempfile.tempdir = None
    sys.modules["numpy"].random.seed()  # else all forks would draw the same
    sys.modules["torch"].seed()
    gc.enable()
    importlib.invalidate_caches()
    searched = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    sys.modules["forked.main"] = sys.modules["__main__"]  # its functions are still in use
    main = sys.modules["__main__"] = types.ModuleType("__main__")
    main.__dict__["__builtins__"] = builtins
    program = [word for word in words[1:] if word not in ("-I", "-S", "-u")]
    if program[0] == "-m":
        sys.path[:] = [os.getcwd(), *searched, *LIBRARIES]
        sys.argv[:] = ["-m", *program[2:]]
        runpy._run_module_as_main(program[1])  # pyright: ignore
    elif program[0] == "-c":
        sys.path[:] = ["", *searched, *LIBRARIES]
        sys.argv[:] = ["-c", *program[2:]]
        exec(compile(program[1], "<string>", "exec"), main.__dict__)
    else:
        sys.path[:] = [os.path.dirname(program[0]), *searched, *LIBRARIES]
        sys.argv[:] = program
        main.__dict__.update(__file__=program[0], __cached__=None)
        with open(program[0], "rb") as source:
            code = compile(source.read(), program[0], "exec")
        exec(code, main.__dict__)


def end(error: BaseException | None) -> NoReturn:
    """End as Python does, but for taking apart all that was imported."""
    try:
        if error is not None and not isinstance(error, SystemExit):
            sys.excepthook(type(error), error, _of_the_program(error.__traceback__))
        threading._shutdown()  # pyright: ignore
        atexit._run_exitfuncs()
        code = _code(error)
        for stream in filter(None, (sys.stdout, sys.stderr)):
            stream.flush()
    except BrokenPipeError:
        code = 120
    if isinstance(error, KeyboardInterrupt):
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    os._exit(code)


def _of_the_program(trace: types.TracebackType | None) -> types.TracebackType | None:
    """The traceback without the frames of this folder."""
    while trace and os.path.dirname(trace.tb_frame.f_code.co_filename) == os.path.dirname(__file__):
        trace = trace.tb_next
    return trace


def _code(error: BaseException | None) -> int:
    if error is None:
        return 0
    if not isinstance(error, SystemExit):
        return 1
    if error.code is None or isinstance(error.code, int):
        return (error.code or 0) & 0xFF
    print(error.code, file=sys.stderr)
    return 1


def _stream(handle: int, name: str, *, is_buffered: bool) -> TextIO | None:
    """A standard stream as Python opens it; None where the handle is closed."""
    try:
        os.fstat(handle)
    except OSError:
        return None
    mode = "w" if handle else "r"
    bare = handle > 0 and not is_buffered
    buffer = open(handle, f"{mode}b", buffering=0 if bare else -1, closefd=False)  # noqa: SIM115
    (buffer if bare else buffer.raw).name = f"<{name}>"  # pyright: ignore
    by_line = is_buffered and (handle == 2 or os.isatty(handle))
    encoding, errors = CODING[name]
    stream = io.TextIOWrapper(
        buffer,
        encoding,
        errors,
        newline="\n",
        line_buffering=by_line,
        write_through=not is_buffered,
    )
    stream.mode = mode  # pyright: ignore
    return stream


def show(words: Sequence[str], variables: Mapping[str, str]) -> None:
    """Let /proc/PID say these, as far as the place is wide that the server began with."""
    pairs = [f"{name}={value}" for name, value in variables.items()]
    _write(words, *PLACE[:2], ARG_END)
    _write(pairs, *PLACE[2:], ENV_END)


def _write(texts: Sequence[str], begins: int, ends: int, moves: int) -> None:
    data = b"".join(os.fsencode(text) + b"\0" for text in texts)[: ends - begins - 1]
    ctypes.memmove(begins, data + bytes(ends - begins - len(data)), ends - begins)
    ctypes.CDLL(None).prctl(PR_SET_MM, moves, ctypes.c_ulong(begins + len(data)), 0, 0)


def _place_of_words() -> tuple[int, ...]:
    with open("/proc/self/stat", "rb") as stat:
        return tuple(map(int, stat.read().rpartition(b")")[2].split()[45:49]))


PLACE = _place_of_words()
"""Where this process's words and variables begin and end."""

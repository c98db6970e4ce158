"""Rules for graders that try what a grader must not be able to do: 1.0 where it was denied."""

import ctypes
import os
import signal
import socket
import subprocess
import threading
import time


def echo(value: float) -> float:
    return value


def broken(text: str) -> float:
    raise ValueError(text)


def denied(attempt: str, target: str) -> float:
    """1.0 where the operating system refuses the attempt, 0.0 where it succeeds."""
    try:
        ATTEMPTS[attempt](target)
    except PermissionError:
        return 1.0
    return 0.0


def _write(target):
    with open(target, "w") as file:
        file.write("x")


def _append(target):
    os.close(os.open(target, os.O_RDONLY | os.O_APPEND | os.O_CREAT))


def _connect(target):
    socket.create_connection(("127.0.0.1", int(target)), timeout=5)


def _thread(target):
    try:
        threading.Thread(target=time.sleep, args=(0,)).start()
    except RuntimeError as error:  # "can't start new thread"
        raise PermissionError from error


def _raise_limit(target):
    import resource

    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (512, 512))
    except ValueError as error:  # Python's word for EPERM here
        raise PermissionError from error


def _trace(target):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.ptrace(0, 0, 0, 0) < 0:
        raise PermissionError


ATTEMPTS = {
    "write": _write,
    "append": _append,
    "remove": os.remove,
    "rename": lambda target: os.rename(target, target + "2"),
    "chmod": lambda target: os.chmod(target, 0o777),
    "link": lambda target: os.symlink(target, target + "2"),
    "make a folder": lambda target: os.mkdir(target + "-folder"),
    "connect": _connect,
    "open a socket": lambda _: socket.socket(socket.AF_UNIX),
    "fork": lambda _: os.fork(),
    "run a program": lambda _: subprocess.run(["true"]),
    "run a shell": lambda _: subprocess.run("true", shell=True),
    "replace itself": lambda _: os.execv("/bin/true", ["true"]),
    "start a thread": _thread,
    "signal its parent": lambda _: os.kill(os.getppid(), signal.SIGTERM),
    "raise a limit": _raise_limit,
    "trace": _trace,
    "map memory for others": lambda _: os.memfd_create("x"),
    "become another user": lambda _: os.setuid(65534),
    "write to a stranger's pipe": lambda target: os.write(int(target), b"x"),
}


def num_variables(_: str) -> float:
    """How many environment variables a grader finds."""
    return float(len(os.environ))


def eat_memory(_: str) -> float:
    return float(len(bytearray(8 << 30)))


def spin(seconds: float) -> float:
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass
    return 1.0


def spin_in_c(digits: int) -> float:
    return float((9**digits) % 7)


def sleep(seconds: float) -> float:
    time.sleep(seconds)
    return 1.0


def crash(number: int) -> float:
    if number == 13:
        ctypes.string_at(0)
    return float(number)


def remember(value: float, seen=[]) -> float:  # noqa: B006
    """How many values this grader has seen: state that a new grader does not have."""
    seen.append(value)
    if value < 0:
        os._exit(1)
    return float(len(seen))

"""The process that grades: `python -m` of it is started by the pool, with an empty environment.

It imports the rule once and then only forks. Each fork (a grader) gives up its rights, reads
batches of arguments and writes one record a grading. A grading that uses up its time or memory ends
its grader; the next fork starts in milliseconds, with nothing left of the one before.
"""

import ctypes
import importlib
import os
import pickle
import signal
import struct
import sys
from collections.abc import Callable

from lab_llm.grading import sandbox

RECORD = struct.Struct("<cd")
"""What a grader writes: a kind, and a reward where there is one."""
STARTED, UNCONFINED, GRADED, FAILED = b"S", b"U", b"G", b"F"
"""A new grader waits for a batch (without a sandbox: UNCONFINED); a reward; no reward, and in its
place the bytes of the reason that follows."""
MAX_REASON = 300
"""Bytes of a reason; with its record it is written as a whole."""
SHOWN_CHARS = 80
"""Characters of a value that is no number."""
LENGTH = struct.Struct("<Q")
"""Stands before each pickled batch."""
REAL_PER_CPU = 15.0
"""Seconds on the clock that a grading may take for each second of CPU time: one that sleeps."""
QUIET_END = 0
_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Import the rule `module:function` and fork graders until the pool goes away.

    Where the module has a function `prepare`, it is called before: what it imports and computes is
    there in every grader, and counts against no grading's limit.
    """
    rule, limit_s, requests, replies = sys.argv[1:]
    module_name, _, name = rule.partition(":")
    module = importlib.import_module(module_name)
    reward = getattr(module, name)
    if hasattr(module, "prepare"):
        module.prepare()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)  # the run answers these, and then closes its pipes
    os.chdir("/")
    while True:
        grader = os.fork()
        if grader == 0:
            _grade_batches(reward, float(limit_s), int(requests), int(replies))
        _, status = os.waitpid(grader, 0)
        if os.WIFEXITED(status) and os.WEXITSTATUS(status) == QUIET_END:
            return


def _grade_batches(
    reward: Callable[..., float], limit_s: float, requests: int, replies: int
) -> None:
    """Grade what comes until the pool closes its end; never returns."""
    _die_with_parent()
    kind = _give_up_rights(replies)
    _reply(replies, RECORD.pack(kind, 0.0))
    while True:
        header = _read(requests, LENGTH.size)
        if not header:
            os._exit(QUIET_END)
        batch = pickle.loads(_read(requests, *LENGTH.unpack(header)))  # the pool's own, trusted
        for arguments in batch:
            _allow(limit_s)
            record = _graded(reward, arguments)
            _allow(0.0)
            _reply(replies, record)


def _reply(replies: int, record: bytes) -> None:
    try:
        os.write(replies, record)
    except BrokenPipeError:  # the pool is gone
        os._exit(QUIET_END)


def _die_with_parent() -> None:
    """End with the process that forked this one, even in the middle of a grading; Linux only."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _give_up_rights(replies: int) -> bytes:
    for number in (signal.SIGPROF, signal.SIGALRM):
        signal.signal(number, signal.SIG_DFL)
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    if sandbox.is_available():
        sandbox.confine(output=replies)
        return STARTED
    sandbox.limit_resources()
    return UNCONFINED


def _allow(limit_s: float) -> None:
    """Let the kernel end this process after so much CPU time, or REAL_PER_CPU as much of the
    clock's; 0 takes the limits away."""
    signal.setitimer(signal.ITIMER_PROF, limit_s)
    signal.setitimer(signal.ITIMER_REAL, limit_s * REAL_PER_CPU)


def _graded(
    reward: Callable[..., float], arguments: tuple[object, ...] | dict[str, object]
) -> bytes:
    try:
        value = reward(**arguments) if isinstance(arguments, dict) else reward(*arguments)
        if isinstance(value, str | bytes) or not hasattr(type(value), "__float__"):
            return _failed(f"gave {value!r:.{SHOWN_CHARS}}, no number")
        return RECORD.pack(GRADED, float(value))
    except MemoryError:
        os._exit(1)  # what is left of this process is not to be trusted
    # A rule fails on what a model wrote in more ways than can be listed; the pool counts it.
    # SystemExit and KeyboardInterrupt too: they would end the grader as if the pool were gone.
    except BaseException as error:
        return _failed(f"raised {type(error).__name__}{_words_of(error)}")


def _failed(reason: str) -> bytes:
    content = reason.encode(errors="replace")[:MAX_REASON]
    return RECORD.pack(FAILED, len(content)) + content


def _words_of(error: BaseException) -> str:
    try:
        return f": {error}"
    except Exception:  # a `__str__` that fails
        return ""


def _read(handle: int, size: int) -> bytes:
    """Exactly `size` bytes, or nothing where the other end is closed."""
    parts: list[bytes] = []
    while size:
        part = os.read(handle, min(size, 1 << 20))
        if not part:
            return b""
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


if __name__ == "__main__":
    main()

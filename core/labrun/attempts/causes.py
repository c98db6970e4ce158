"""What ended an attempt from inside, as an ending that says why in plain words."""

import os
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

from labrun.attempts import failures, memory
from labrun.attempts.ranks import EXIT_FAILED, Ending
from labrun.errors import text_of
from labrun.runs.run_dir import RunDir
from labrun.system import disk

MUST_NOT_EXIT = "a component must not exit: it returns, or raises an error"


def failure(error: BaseException, run: RunDir) -> Ending:
    """The ending of an attempt that failed. Ask before anything is removed from the disk."""
    if isinstance(error, SystemExit):
        return of_exit(f"exit({error.code!r})", traceback.extract_tb(error.__traceback__))
    text = f"{type(error).__name__}: {text_of(error)}".rstrip(": ")
    if disk.is_full(run.path, error):
        again = f"make room on the disk of {run.path}, then `lab resume {run.id}`"
        text = f"No space left on device; {again} ({text})"
    elif failures.is_out_of_memory(error):
        text = f"out of memory; {memory.advice(run, error)} ({text})"
    return Ending("failed", EXIT_FAILED, text)


def of_exit(call: str, frames: traceback.StackSummary) -> Ending:
    """The ending of an attempt that a component ended by this call, made in the last frame that is
    not Python's own: `exit` and `quit` are functions of such a frame."""
    words = [f"a component ended the process: {call}", MUST_NOT_EXIT]
    own = [frame for frame in frames if not frame.filename.startswith("<frozen")]
    if own:
        words.insert(1, f"{own[-1].filename}:{own[-1].lineno}, in {own[-1].name}")
    return Ending("failed", EXIT_FAILED, "; ".join(words))


@contextmanager
def told_of_exits(tell: Callable[[SystemExit, Ending], None]) -> Iterator[None]:
    """While entered, os._exit in this process first tells who calls it; those of forked children,
    who leave by it, are as they were."""
    me, leave = os.getpid(), os._exit

    def told(status: int) -> NoReturn:
        if os.getpid() == me:
            frames = traceback.extract_stack()[:-1]
            traceback.print_stack()
            sys.stderr.flush()
            where = "" if threading.current_thread() is threading.main_thread() else " in a thread"
            summary = traceback.StackSummary.from_list(frames)
            tell(SystemExit(status), of_exit(f"os._exit({status}){where}", summary))
            status = EXIT_FAILED
        leave(status)

    os._exit = told
    try:
        yield
    finally:
        os._exit = leave

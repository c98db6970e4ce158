"""Work in forks of this process, several at once: each begins with what is imported here."""

import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.context import ForkProcess
from pathlib import Path

CONTEXT = get_context("fork")


@dataclass(frozen=True)
class Ended:
    """The place of a piece of work in what was asked for, its exit code, and its time (s)."""

    place: int
    code: int
    seconds: float


def done(
    works: Sequence[Callable[[], None]], *, at_once: int, log: Path, until: float = math.inf
) -> Iterator[Ended]:
    """Each work as it ends; what they print goes to `log`. This process must not have used CUDA.

    At `until` (time.monotonic()) those that run get SIGTERM, and no other begins.
    """
    waiting = list(enumerate(works))
    running: dict[int, tuple[ForkProcess, float]] = {}
    while waiting or running:
        if time.monotonic() >= until:
            waiting, until = [], math.inf
            for process, _ in running.values():
                process.terminate()
        while waiting and len(running) < at_once:
            place, work = waiting.pop(0)
            process = CONTEXT.Process(target=_quiet, args=(work, log), daemon=True)
            process.start()
            running[place] = process, time.monotonic()
        for place, (process, began) in list(running.items()):
            process.join(0.02)
            if process.exitcode is not None:
                del running[place]
                yield Ended(place, process.exitcode, time.monotonic() - began)


def _quiet(work: Callable[[], None], log: Path) -> None:
    with open(log, "a") as file:
        os.dup2(file.fileno(), sys.stdout.fileno())
        os.dup2(file.fileno(), sys.stderr.fileno())
    work()

"""Runs' events read in a process of its own, while this one imports what it needs next."""

import os
import pickle
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from io import BufferedRandom
from typing import NoReturn

from labrun.runs.packed import PackedSeries
from labrun.runs.record import Results, RunRecord
from labrun.runs.run_dir import EVENTS

WORTH_BYTES = 4_000_000
"""Of events: about 0.2 s of reading, ten times what the process costs."""
MOST_BYTES = 500_000_000
"""Of events: both processes hold what they say."""


@contextmanager
def reading(runs: Sequence[RunRecord]) -> Iterator[bool]:
    """Whether the done runs' events are read while the body runs; behind it each run has its own.

    Few events or too many, another system than Linux, one CPU, another thread: each run reads when
    it is asked, as it also does where that process has failed.
    """
    done = [run for run in runs if run.status().state == "done"]
    if not (_may_fork() and WORTH_BYTES <= _num_bytes(done) <= MOST_BYTES):
        yield False
        return
    with open(os.memfd_create("labrun-events"), "w+b") as file:
        child = os.fork()
        if child == 0:
            _read(done, file)
        try:
            yield True
        except BaseException:
            os.kill(child, signal.SIGKILL)
            raise
        finally:
            _, ended = os.waitpid(child, 0)
        if ended == 0:
            file.seek(0)
            for run, results in zip(done, pickle.load(file), strict=True):
                run.take(results)


def _may_fork() -> bool:
    if sys.platform != "linux" or threading.active_count() > 1:
        return False
    return len(os.sched_getaffinity(0)) > 1


def _num_bytes(runs: Sequence[RunRecord]) -> int:
    total = 0
    for run in runs:
        with suppress(OSError):
            total += (run.path / EVENTS).stat().st_size
    return total


def _read(runs: Sequence[RunRecord], file: BufferedRandom) -> NoReturn:
    code = 1  # the parent reads them itself, and says what is wrong
    try:
        pickle.dump([_packed(run.results) for run in runs], file, protocol=5)
        file.flush()
        code = 0
    finally:
        os._exit(code)


def _packed(results: Results) -> Results:
    """The results with series that are unpacked when they are asked for: most never are."""
    series, scores, seconds, fault = results
    return PackedSeries.of(series), scores, seconds, fault

"""`--wait`: a command that follows runs which something else runs."""

import signal
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from labrun.launch import following, submitting
from labrun.launch.watch import Watch
from labrun.runs import submission
from labrun.runs.run_dir import ENDED, RunDir

if TYPE_CHECKING:
    from rich.console import Console

POLL_S = 0.2
LOOK_S = 5.0
"""Seconds between two looks at the scheduler."""
MOST_INTERRUPTS = 2


def follow(runs: Sequence[RunDir], home: Path, console: "Callable[[], Console]") -> None:
    """Show the runs until all have ended. A first Ctrl-C lets them save a checkpoint and stop, a
    second ends them at once. Another signal ends this command alone."""
    watch = Watch(runs, home, console)
    interrupts, answered = _Interrupts(), 0
    with interrupts:
        try:
            while not _have_ended(runs, watch, interrupts) and answered < MOST_INTERRUPTS:
                answered += 1
                print("lab: stopping the jobs" + (" at once" if answered > 1 else ""))
                submitting.cancel(runs, now=answered > 1)
                interrupts.left -= 1
        finally:
            watch.close()


class _Interrupts:
    """While entered, Ctrl-C is counted: as an exception it could fall into a callback that lets
    none out, and be lost."""

    def __init__(self) -> None:
        self.left = 0
        """Those that were not answered yet."""

    def __enter__(self) -> None:
        self._is_main = threading.current_thread() is threading.main_thread()
        if self._is_main:  # Python lets no other thread have signals
            self._before = signal.signal(signal.SIGINT, self._count)

    def __exit__(self, *_: object) -> None:
        if self._is_main:
            signal.signal(signal.SIGINT, self._before)

    def _count(self, *_: object) -> None:
        self.left += 1


def _have_ended(runs: Sequence[RunDir], watch: Watch, interrupts: _Interrupts) -> bool:
    """True once all runs have ended; false at an interrupt before."""
    left, looked = list(runs), -LOOK_S
    while left:
        if interrupts.left:
            return False
        watch.tick()
        if time.monotonic() - looked >= LOOK_S:
            looked = time.monotonic()
            said = following.words(left, ask_all=True)
            left = [run for run in left if not _has_ended(run, said.get(run.id))]
        time.sleep(POLL_S)
    return True


def _has_ended(run: RunDir, word: following.Word | None) -> bool:
    """Whether the run's directory says so; one that was preempted may go on as the same job."""
    if not run.path.exists():
        return True
    state = run.status().state
    if state in following.OPEN or (word is not None and word.state != "gone"):
        return False
    job = submission.read(run.path)
    if state != "preempted" or job is None or not job.is_of_cluster:
        return state in (*ENDED, "damaged", "unreadable")
    said = following.asked([run]).get(run.id)
    return said is not None and said.state == "gone"

"""`--wait`: a command that follows runs which something else runs."""

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


def follow(runs: Sequence[RunDir], home: Path, console: "Callable[[], Console]") -> None:
    """Show the runs until all have ended. A first Ctrl-C lets them save a checkpoint and stop, a
    second ends them at once. Another signal ends this command alone."""
    watch = Watch(runs, home, console)
    interrupts = 0
    try:
        while interrupts < 2:
            try:
                _until_ended(runs, watch)
                return
            except KeyboardInterrupt:
                interrupts += 1
                print("lab: stopping the jobs" + (" at once" if interrupts > 1 else ""))
                submitting.cancel(runs, now=interrupts > 1)
    finally:
        watch.close()


def _until_ended(runs: Sequence[RunDir], watch: Watch) -> None:
    left, looked = list(runs), -LOOK_S
    while left:
        watch.tick()
        if time.monotonic() - looked >= LOOK_S:
            looked = time.monotonic()
            said = following.words(left, ask_all=True)
            left = [run for run in left if not _has_ended(run, said.get(run.id))]
        time.sleep(POLL_S)


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

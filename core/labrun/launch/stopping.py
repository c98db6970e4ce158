"""How a command is asked to stop, and what it says when it did."""

import shlex
import signal
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any

from labrun.errors import EXIT_PREEMPTED, LabError
from labrun.runs.run_dir import RunDir, all_runs, group_of, has_checkpoint
from labrun.system import processes

AT_ONCE = (signal.SIGINT, signal.SIGTERM)
"""Signals that end the jobs at once when they come again."""
AGAIN_S = 0.5
"""Seconds after which a second signal is meant: `timeout` and shells send one to a process and to
its group, and both arrive here."""


class StopOnSignal:
    """While entered, what asks for an end is noted instead of ending this process; a second
    SIGINT or SIGTERM raises KeyboardInterrupt, unless a scheduler is `patient`: it asks several
    times, and kills in the end. A SIGHUP that nohup ignores stays ignored."""

    def __init__(self, *, patient: bool = False) -> None:
        self.asked = 0
        self._patient = patient
        self._asked_at = 0.0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return  # Python lets no other thread have signals
        for number in processes.STOPS:
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._on_signal)

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, _: object) -> None:
        now = time.monotonic()
        if not self.asked:
            self.asked, self._asked_at = number, now
            print("lab: stopping; jobs write a checkpoint first (again: at once)", file=sys.stderr)
        elif not self._patient and number in AT_ONCE and now - self._asked_at > AGAIN_S:
            raise KeyboardInterrupt


class StoppedError(LabError):
    """Runs were stopped by the user and can be resumed."""

    exit_code = EXIT_PREEMPTED

    def __init__(self, runs: Sequence[RunDir]) -> None:
        open_runs = [run for run in runs if run.status().state != "done"]
        if any(map(has_checkpoint, open_runs)):
            then = f"goes on from the last checkpoint{'s' if len(open_runs) > 1 else ''}"
        else:
            then = "begins again: there is no checkpoint yet"
        super().__init__(f"stopped; `lab resume {_names(runs, open_runs)}` {then}")


def _names(runs: Sequence[RunDir], open_runs: Sequence[RunDir]) -> str:
    """The words that name these runs: `last`, their group, or their ids."""
    groups = {group_of(run) for run in runs}
    if len(runs) > 1 and len(groups) == 1 and (group := groups.pop()) is not None:
        return f"--group {shlex.quote(group)}"
    if len(open_runs) == 1 and all_runs(open_runs[0].path.parent)[-1] == open_runs[0]:
        return "last"
    return " ".join(run.id for run in open_runs)

"""When, whom and how: the kills of one trial, all chosen from its seed."""

import random
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from signal import Signals

from campaign.record import drafts_of, events_of, stage_of, state_of, store_stamp
from campaign.subjects import Subject

MOMENTS = ("clock", "event", "event", "stage", "stage", "draft", "store", "ending")
TARGETS = ("command", "command", "worker", "worker", "group", "everything", "other")
"""`other` is a process of the command that is no worker: what watches over it, or writes."""
BY_SIGNAL = (*TARGETS, "job", "rank 0", "rank 1")
SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
WRITES = 6
"""The writes into the store among which a kill's is."""
PAUSE_S = 0.3
"""The longest pause between the moment and the signal."""


@dataclass(frozen=True)
class Kill:
    """One signal: sent `pause_s` after the moment to the target's processes.

    The moments: `clock`, a share `at` of an uninterrupted run's time; `event`, a share of its
    events; `stage`, the stage that the run says it is in; `draft`, a checkpoint half written;
    `store`, one of the first writes into MLflow's files; `ending`, done while the command goes on.
    """

    moment: str
    at: float
    stage: str
    pause_s: float
    target: str
    signal: Signals

    def __str__(self) -> str:
        moment = f"{self.moment} {self.stage if self.moment == 'stage' else format(self.at, '.2f')}"
        how = f"{self.signal.name} to {self.target}" if self.target in BY_SIGNAL else self.target
        return f"{how} at {moment} + {self.pause_s:.2f} s"


def kills_of(subject: Subject, *, seed: int, targets: Sequence[str] = TARGETS) -> list[Kill]:
    """The kills of this seed, one to three."""
    rng = random.Random(seed)
    count = rng.choices((1, 2, 3), weights=(6, 3, 1))[0]
    return [_kill(rng, subject, targets) for _ in range(count)]


def _kill(rng: random.Random, subject: Subject, targets: Sequence[str]) -> Kill:
    ranks = ("rank 0", "rank 1", "rank 1") if subject.ranks > 1 else ()
    return Kill(
        moment=rng.choice(MOMENTS),
        at=rng.random(),
        stage=rng.choice(subject.stages),
        pause_s=rng.choice((0.0, PAUSE_S * rng.random())),
        target=rng.choice((*targets, *ranks)),
        signal=rng.choice(SIGNALS),
    )


class Watch:
    """A trial's home from now on, beside an uninterrupted run of `seconds` and `num_events`."""

    def __init__(self, home: Path, *, seconds: float, num_events: int) -> None:
        self.home, self.seconds, self.num_events = home, seconds, num_events
        self._began, self._began_at = time.monotonic(), time.time()
        self._events, self._store, self._writes = events_of(home), store_stamp(home), 0
        self._drafts = drafts_of(home)

    def reached(self, kill: Kill) -> bool:
        """Whether the kill's moment has come."""
        if kill.moment == "clock":
            return time.monotonic() - self._began >= kill.at * self.seconds
        if kill.moment == "event":
            return events_of(self.home) - self._events > kill.at * self.num_events
        if kill.moment == "stage":
            return stage_of(self.home, since=self._began_at) == kill.stage
        if kill.moment == "draft":
            return bool(drafts_of(self.home) - self._drafts)
        if kill.moment == "store":
            return self._num_writes() > kill.at * WRITES
        assert kill.moment == "ending", kill.moment
        return state_of(self.home) == "done"

    def _num_writes(self) -> int:
        """Changes of the store's files, as far as they were seen."""
        stamp = store_stamp(self.home)
        if stamp != self._store:
            self._store, self._writes = stamp, self._writes + 1
        return self._writes

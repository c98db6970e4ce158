"""Further places that get a run's metrics and scores: TensorBoard, Weights & Biases.

They are written from events.jsonl, beside MLflow's store, by the command or the job that looks
after the runs. What goes wrong with one is said once, ends that one alone, and never a run.
"""

import importlib
import importlib.util
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from labrun.errors import LabError
from labrun.experiment import RunConfig
from labrun.results.sinks.feed import Feed
from labrun.runs.run_dir import RunDir

PERIOD_S = 5.0
ANSWER_S = 60.0
"""How long the end of a command waits for the sinks."""


@dataclass(frozen=True)
class Kind:
    """A sink by name: the module of its class `Sink`, and the package that it needs, which is also
    the extra that installs it."""

    module: str
    package: str


KINDS = {
    "tensorboard": Kind("labrun.results.sinks.tensorboard", "tensorboard"),
    "wandb": Kind("labrun.results.sinks.wandb", "wandb"),
}


class Live(Protocol):
    """What a command calls while runs go, and at their end."""

    def tick(self) -> None: ...

    def close(self) -> None: ...


def check(run: RunConfig) -> None:
    """Raise LabError where a sink's package is not installed."""
    for name in run.tracking.also:
        if importlib.util.find_spec(KINDS[name].package) is None:
            raise LabError(
                f"tracking.also=[{name}]: {KINDS[name].package} is not installed; "
                f"`pip install 'labrun[{name}]'`, or leave it out"
            )


class LiveSinks:
    """Feeds the sinks of runs while they go, at most every `period_s` seconds, in a thread."""

    def __init__(self, runs: Iterable[RunDir], *, period_s: float = PERIOD_S) -> None:
        self._feeds = [feed for run in runs for feed in _feeds(run)]
        self._period_s = period_s
        self._last = time.monotonic()
        self._thread: threading.Thread | None = None

    def tick(self) -> None:
        """Write what is new, unless the last time is not over."""
        busy = self._thread is not None and self._thread.is_alive()
        if self._feeds and not busy and time.monotonic() - self._last >= self._period_s:
            self._start(last=False)

    def close(self) -> None:
        """Write all that is left, and end the sinks."""
        if self._thread is not None:
            self._thread.join(ANSWER_S)
        if self._feeds and (self._thread is None or not self._thread.is_alive()):
            self._start(last=True)
            assert self._thread is not None
            self._thread.join(ANSWER_S)
        if self._thread is not None and self._thread.is_alive():
            print("lab: a sink of tracking.also does not answer; it is left", file=sys.stderr)

    def _start(self, *, last: bool) -> None:
        self._last = time.monotonic()
        self._thread = threading.Thread(target=self._write, args=(last,), daemon=True)
        self._thread.start()

    def _write(self, last: bool) -> None:
        for feed in list(self._feeds):
            try:
                feed.write()
                if last:
                    feed.close()
            except (Exception, SystemExit) as error:  # whatever its library raises, the runs go on
                self._feeds.remove(feed)
                _say(feed, error)


def _feeds(run: RunDir) -> Sequence[Feed]:
    """The run's sinks; none of a run whose spec is damaged, which its job reports."""
    try:
        names = run.experiment().run.tracking.also
    except LabError:
        return ()
    return [Feed(run, name, lambda run, k=KINDS[name]: _open(k, run)) for name in names]


def _open(kind: Kind, run: RunDir):
    return importlib.import_module(kind.module).Sink(run)


def _say(feed: Feed, error: BaseException) -> None:
    text = (str(error).strip() or type(error).__name__).splitlines()[0]
    what = f"{feed.name} of run {feed.run.id} is written no more"
    print(f"lab: {what}: {type(error).__name__}: {text}; the runs go on", file=sys.stderr)

"""The results store: MLflow as a mirror of the run directories, rebuilt from them at any time."""

import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from labrun.results.store.catch_up import catch_up
from labrun.results.store.file import (
    check_uri,
    ensure_sqlite,
    is_sound,
    say_damaged,
    set_damaged_aside,
    sqlite_uri,
)
from labrun.results.store.marks import signs
from labrun.results.store.mirror import Mirror
from labrun.results.store.owner import refuse_elsewhere, take_over
from labrun.results.store.pauses import Pauses
from labrun.results.store.trouble import is_damage, is_down, reason_of
from labrun.runs.run_dir import RunDir

__all__ = [
    "ANSWER_S",
    "LiveMirror",
    "Mirror",
    "catch_up",
    "check_uri",
    "ensure_sqlite",
    "is_damage",
    "is_down",
    "is_sound",
    "reason_of",
    "refuse_elsewhere",
    "say_damaged",
    "set_damaged_aside",
    "sqlite_uri",
    "take_over",
]

ANSWER_S = 60.0
"""How long the end of a command waits for the store."""


class LiveMirror:
    """Mirrors the runs of one command while they go, at most every `period_s` seconds.

    A store that does not answer never stops a run: it is said once, and tried again after pauses
    that grow. A run that cannot be stored is named once, and harms no other. What is missing in the
    end is written by the next command that looks at the runs, or by `lab reindex`.
    """

    def __init__(self, home: Path, runs: Sequence[RunDir], *, period_s: float = 5.0) -> None:
        self._home = home
        uris = {run.id: run.experiment().run.tracking.uri for run in runs}
        self._mirrors = {uri: Mirror(home, uri) for uri in dict.fromkeys(uris.values())}
        self._runs = {uri: [run for run in runs if uris[run.id] == uri] for uri in self._mirrors}
        self._period_s = period_s
        self._last = time.monotonic()
        self._stored: dict[str, object] = {}
        self._pauses = Pauses()
        self._thread: threading.Thread | None = None

    def tick(self) -> None:
        """Mirror in a thread of its own, so that a slow store holds up no job."""
        busy = self._thread is not None and self._thread.is_alive()
        if not busy and time.monotonic() - self._last >= self._period_s:
            self._thread = threading.Thread(target=self.flush, daemon=True)
            self._thread.start()

    def flush(self) -> None:
        """Write what is new of every run, but for what has just failed."""
        for uri, mirror in self._mirrors.items():
            if not self._pauses.holds(mirror.where):
                self._flush(mirror, self._runs[uri])
        self._last = time.monotonic()

    def close(self) -> None:
        """Bring every run up to its end."""
        if self._thread is not None:
            self._thread.join(ANSWER_S)
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._flush_last, daemon=True)
            self._thread.start()
            self._thread.join(ANSWER_S)
        if self._thread.is_alive():
            print("lab: the results store does not answer; later: lab reindex", file=sys.stderr)

    def _flush_last(self) -> None:
        self._pauses.end()
        self.flush()
        catch_up(self._home)

    def _flush(self, mirror: Mirror, runs: Sequence[RunDir]) -> None:
        which = mirror.identity()
        changed = [run for run in runs if self._stored.get(run.id) != (which, signs(run))]
        if not changed:
            return
        try:
            with mirror.opened():
                for run in changed:
                    if not self._pauses.holds(run.id):
                        self._update(run, mirror)
        except Exception as error:  # whatever the store's client raises, the runs go on
            if self._pauses.failed(mirror.where):
                self._say("", mirror, error)
            return
        if self._pauses.worked(mirror.where):
            print("lab: results store updated again", file=sys.stderr)

    def _update(self, run: RunDir, mirror: Mirror) -> None:
        """Store one run. Raises only the errors of a store that is down."""
        seen = mirror.identity(), signs(run)  # what changes with the store or with the run
        try:
            mirror.update(run)
        except Exception as error:  # whatever is wrong with one run, the others are written
            if is_down(error):
                raise
            if self._pauses.failed(run.id):
                self._say(f" for run {run.id}", mirror, error)
            return
        self._stored[run.id] = seen
        self._pauses.worked(run.id)

    def _say(self, whom: str, mirror: Mirror, error: Exception) -> None:
        text = f"results store not updated{whom}: {reason_of(error)}; later: {mirror.mended_by}"
        print(f"lab: {text}", file=sys.stderr)

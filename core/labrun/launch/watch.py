"""What a command does for its runs while they go: it shows them and passes their results on."""

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from labrun.launch.guards import lasting
from labrun.runs.run_dir import RunDir

if TYPE_CHECKING:
    from rich.console import Console

    from labrun.launch.display import Display
    from labrun.results.sinks import LiveSinks
    from labrun.results.store import LiveMirror


class Watch:
    """The display, the results store and the sinks of some runs. What goes wrong with one of them
    ends no job.

    All are imported at the first tick, when the first jobs start up by themselves.
    """

    def __init__(
        self, runs: Sequence[RunDir], home: Path, console: "Callable[[], Console]"
    ) -> None:
        self._runs, self._home, self._console = runs, home, console
        self._show = lasting("the display", lambda: self._display.tick())
        self._store = lasting("the results store", lambda: self._mirror.tick())
        self._feed = lasting("tracking.also", lambda: self._sinks.tick())

    def tick(self) -> None:
        self._show()
        self._store()
        self._feed()

    def close(self) -> None:
        lasting("the display", lambda: self._display.close())()
        lasting("the results store", lambda: self._mirror.close())()
        lasting("tracking.also", lambda: self._sinks.close())()

    @cached_property
    def _display(self) -> "Display":
        from labrun.launch.display import Display

        return Display(self._runs, self._console())

    @cached_property
    def _mirror(self) -> "LiveMirror":
        from labrun.results.store import LiveMirror

        return LiveMirror(self._home, self._runs)

    @cached_property
    def _sinks(self) -> "LiveSinks":
        from labrun.results.sinks import LiveSinks

        return LiveSinks(self._runs)

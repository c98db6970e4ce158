"""What the plugins say of compared runs: their headline metrics and their own figures."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from labrun.errors import LabError
from labrun.plugins import discovery as plugins
from labrun.results.arms import Arm
from labrun.results.points import points
from labrun.results.store import reason_of
from labrun.runs.run_dir import RunDir

Draw = Callable[[Sequence[Arm], Path], list[Path]]


def draw_figures(arms: Sequence[Arm], folder: Path, console: Console) -> None:
    """The plugins' own figures of compared runs; none of a plugin that is not installed here."""
    for figure in drawn_figures(arms, folder, console):
        console.print(f"figure   {figure}", soft_wrap=True)


def drawn_figures(arms: Sequence[Arm], folder: Path, console: Console) -> Iterator[Path]:
    """The files in `folder` of the plugins' own figures, as they are drawn."""
    for plugin in _owners(run for arm in arms for run in arm.runs):
        for name in _contained(lambda p=plugin: list(plugins.load(p).figures), plugin, console):
            where = f"{plugin}: {name}"
            yield from _contained(lambda n=name: _drawn(n, arms, folder), where, console)


def _drawn(name: str, arms: Sequence[Arm], folder: Path) -> list[Path]:
    draw: Draw = plugins.resolve(name)
    return list(draw(arms, folder) or ())


def _owners(runs: Iterable[RunDir]) -> list[str]:
    """The plugins of these runs that are installed here."""
    owners = dict.fromkeys(run.experiment().plugin for run in runs)
    return [name for name in owners if name in plugins.installed()]


def print_not_installed(runs: Iterable[RunDir], console: Console) -> None:
    """Say whose figures and headline are left out."""
    for name in not_installed(runs):
        console.print(
            f"plugin {name} is not installed here: its figures and its choice of curves are "
            "left out; --metric draws others",
            soft_wrap=True,
        )


def not_installed(runs: Iterable[RunDir]) -> list[str]:
    """The plugins of these runs that are not installed here."""
    owners = dict.fromkeys(run.experiment().plugin for run in runs)
    return [name for name in owners if name not in plugins.installed()]


def headline(runs: Sequence[RunDir], console: Console, *, least: int = 2) -> list[str]:
    """The plugins' headline metrics of which some run has at least so many points."""
    names: dict[str, None] = {}
    for plugin in _owners(runs):
        where = f"{plugin}: headline"
        names |= dict.fromkeys(
            _contained(lambda p=plugin: list(map(str, plugins.load(p).headline)), where, console)
        )
    return [name for name in names if any(len(points(run, name)) >= least for run in runs)]


def _contained(call: Callable[[], list[Any]], hook: str, console: Console) -> list[Any]:
    """What a plugin's hook returns; a hook that fails gives nothing, and a line names it."""
    try:
        return call()
    except (Exception, SystemExit) as error:  # the runs are done, whatever a plugin's hook does
        kind = "" if isinstance(error, LabError) else f"{type(error).__name__}: "
        text = f"lab: plugin {hook} failed: {kind}{reason_of(error)}"
        console.print(text, style="yellow", soft_wrap=True)
        return []

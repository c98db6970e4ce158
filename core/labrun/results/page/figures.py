"""The pictures of a report: learning curves, scores task by task, and the plugins' own."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console

from labrun.results import plugin_figures
from labrun.results.arms import Arm
from labrun.results.comparison import Comparison
from labrun.results.figures import curves, dots, profiles
from labrun.results.page.pictures import Picture, drawn, read
from labrun.results.page.words import clean
from labrun.results.points import points
from labrun.runs.record import RunRecord

MOST_CURVES = 12
MOST_METRICS = 8
MOST_FILES = 8
"""Figures of single runs, by name."""
MOST_ARMS = 4
"""Arms of which figures of single runs are shown."""
MOST_BYTES = 8_000_000
"""Of all PNG of the page, as base64."""


@dataclass(frozen=True)
class Beside:
    """One figure that several runs have drawn, each under its arm."""

    name: str
    pictures: Sequence[tuple[int, str, Picture]]
    """Place of the arm, its label with the seed, its picture."""

    @property
    def is_wide(self) -> bool:
        return any(picture.is_wide for _, _, picture in self.pictures)


class Pictures:
    """All pictures of one comparison; `notes` says what was left out."""

    def __init__(self, found: Comparison, console: Console) -> None:
        self.found = found
        self.console = console
        self.notes = [*map(_not_installed, plugin_figures.not_installed(found.runs))]
        self._left = MOST_BYTES

    def curves(self, metrics: Sequence[str] = (), *, smooth: int = 1) -> list[Picture]:
        """A figure a metric: the plugins' headline, else the scores that were taken twice."""
        wanted = metrics or plugin_figures.headline(self.found.runs, self.console, least=2)
        wanted = wanted or self._scored_twice()
        self._note_more("curves", len(wanted), MOST_CURVES)
        made = []
        for place, metric in enumerate(wanted[:MOST_CURVES]):
            figure = curves.draw(
                self.found.arms, [metric], smooth=smooth, width="column", says=False
            )
            figure.axes[0].set_ylabel("")  # the caption is its name
            made.append(drawn(figure, title=clean(metric), name=f"curve{place}"))
        return self._within(made)

    def tasks(self) -> list[Picture]:
        """A figure a metric: the last scores of all arms on each task."""
        metrics = list(dict.fromkeys(metric for _, metric in self.found.table.rows))
        self._note_more("metrics", len(metrics), MOST_METRICS)
        made = []
        for place, metric in enumerate(metrics[:MOST_METRICS]):
            figure = dots.draw(self.found.table, metric)
            if figure is not None:
                figure.axes[0].set_xlabel("")
                made.append(drawn(figure, title=clean(metric), name=f"task{place}"))
        if grids := self.found.rates:
            is_wide = len(grids) > 1
            width = "page" if is_wide else "column"
            figure = profiles.draw(grids[:MOST_METRICS], width=width, says=False)
            title = "share of seeds and tasks above each score (band: 95% bootstrap over seeds)"
            made.append(drawn(figure, title=title, name="profile", is_wide=is_wide))
        return self._within(made)

    def of_plugins(self) -> list[Picture]:
        """What the plugins draw of all runs together."""
        with TemporaryDirectory() as folder:
            paths = plugin_figures.drawn_figures(self.found.arms, Path(folder), self.console)
            made = [read(path, title=path.stem) for path in paths]
        return self._within(picture for picture in made if picture)

    def of_runs(self) -> list[Beside]:
        """The figures among the artifacts of one run of each arm, those of one name together."""
        arms = list(enumerate(self.found.arms))[:MOST_ARMS]
        firsts = [(index, arm, _first(arm)) for index, arm in arms]
        names = dict.fromkeys(name for _, _, run in firsts for name in _files(run))
        self._note_more("figures of single runs", len(names), MOST_FILES)
        if names:
            self._note_more("arms with figures of single runs", len(self.found.arms), MOST_ARMS)
        found = []
        for name in list(names)[:MOST_FILES]:
            shown = []
            for index, arm, run in firsts:
                picture = read(run.artifacts / f"{name}.png", title=clean(name))
                label = f"{arm.label}, seed {run.experiment().run.seed}"
                kept = self._within([picture] if picture else [])
                shown += [(index, label, one) for one in kept]
            found += [Beside(clean(name), shown)] if shown else []
        return found

    def _scored_twice(self) -> list[str]:
        names = [f"{task}/{metric}" for task, metric in self.found.table.rows]
        runs = self.found.runs
        return [name for name in names if any(len(points(run, name)) > 1 for run in runs)]

    def _within(self, pictures: Iterable[Picture]) -> list[Picture]:
        """Those that fit into what is left of MOST_BYTES."""
        kept = []
        for picture in pictures:
            if len(picture.png) > self._left:
                self.notes.append(f"left out, the page would be too large: {picture.title}")
                continue
            self._left -= len(picture.png)
            kept.append(picture)
        return kept

    def _note_more(self, what: str, count: int, most: int) -> None:
        if count > most:
            self.notes.append(f"the first {most} of {count} {what} are shown")


def _not_installed(plugin: str) -> str:
    text = f"plugin {clean(plugin)} is not installed here"
    return f"{text}: its figures and choice of curves are left out"


def _first(arm: Arm) -> RunRecord:
    return min(arm.runs, key=lambda run: run.experiment().run.seed)


def _files(run: RunRecord) -> list[str]:
    """The PNG among the artifacts, by their path without its ending."""
    if not run.artifacts.is_dir():
        return []
    found = sorted(run.artifacts.rglob("*.png"))
    return [str(path.relative_to(run.artifacts).with_suffix("")) for path in found]

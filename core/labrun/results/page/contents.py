"""Everything that one report shows, before it is HTML."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from rich.console import Console

from labrun.results import printing
from labrun.results.comparison import Comparison, mixed
from labrun.results.figures.curves import meaning
from labrun.results.page import again, provenance, question
from labrun.results.page.accounts import Account, accounts, counts
from labrun.results.page.again import Step
from labrun.results.page.figures import Beside, Pictures
from labrun.results.page.pictures import Picture
from labrun.results.page.provenance import Fact
from labrun.results.page.samples import SideBySide, side_by_side
from labrun.results.page.settings import Differing, differing_settings
from labrun.results.page.words import moment
from labrun.results.paired import Difference, untested
from labrun.results.sheet import Entry, Sheet
from labrun.runs.record import RunRecord, records
from labrun.runs.run_dir import RunDir


@dataclass(frozen=True)
class Section:
    """A part of the page that somebody else has: text and a table, such as a suite's published
    numbers beside ours. It stands before the table of scores."""

    title: str
    paragraphs: Sequence[str] = ()
    head: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()


@dataclass(frozen=True)
class About:
    """What the page is of. The question is the runs' own where it is empty; `command` made it."""

    title: str
    question: str = ""
    command: str = "lab report"
    sections: Sequence[Section] = ()


@dataclass(frozen=True)
class Wanted:
    """What is drawn, and how much is shown."""

    metrics: Sequence[str] = ()
    smooth: int = 5
    num_samples: int = 12


@dataclass(frozen=True)
class Page:
    """The page's parts in their order."""

    about: About
    question: tuple[str, str]
    """Its first line, and what follows."""
    scope: Sequence[tuple[str, str]]
    counts: str
    arms: Sequence[str]
    sheet: Sheet
    warnings: Sequence[str]
    tests: Sequence[Difference]
    baseline: str | None
    untested: Sequence[str]
    curves: Sequence[Picture]
    curves_mean: str
    tasks: Sequence[Picture]
    of_plugins: Sequence[Picture]
    of_runs: Sequence[Beside]
    samples: SideBySide | None
    differing: Differing
    accounts: Sequence[Account]
    provenance: Sequence[Fact]
    commands: Sequence[Step]
    notes: Sequence[str] = field(default_factory=list)
    made: str = ""
    version: str = field(default_factory=lambda: version("labrun"))

    @property
    def by_task(self) -> dict[str, list[tuple[str, Sequence[Entry | None]]]]:
        """Task -> its metrics, each with the entries of all columns."""
        found: dict[str, list[tuple[str, Sequence[Entry | None]]]] = {}
        for (task, metric), entries in self._rows:
            found.setdefault(task, []).append((metric, entries))
        return found

    @property
    def by_score(self) -> list[tuple[str, str, list[tuple[str, Entry]]]]:
        """Task, metric, and the columns that have an entry."""
        return [
            (task, metric, [(c, e) for c, e in zip(self.sheet.columns, of, strict=True) if e])
            for (task, metric), of in self._rows
        ]

    @property
    def _rows(self) -> list[tuple[tuple[str, str], Sequence[Entry | None]]]:
        """The rows of the table, those of several tasks at once last."""
        return [*self.sheet.rows.items(), *self.sheet.summary.items()]


def page_of(
    found: Comparison,
    runs: Sequence[RunDir],
    console: Console,
    *,
    about: About,
    wanted: Wanted,
) -> Page:
    """The report of a comparison and of all its runs, those that are in no arm included."""
    every, pictures = records(runs), Pictures(found, console)
    left = untested(found.arms, found.baseline, found.against) if found.baseline else []
    return Page(
        about=about,
        question=question.parted(about.question or question.question_of(found.arms, every)),
        scope=question.scope_of(found.arms),
        counts=counts(found, every),
        arms=[arm.label for arm in found.arms],
        sheet=found.sheet,
        warnings=_warnings(found, every),
        tests=found.against,
        baseline=found.baseline,
        untested=left,
        curves=pictures.curves(wanted.metrics, smooth=wanted.smooth),
        curves_mean=meaning(found.arms),
        tasks=pictures.tasks(),
        of_plugins=pictures.of_plugins(),
        of_runs=pictures.of_runs(),
        samples=side_by_side(found.arms, baseline=found.baseline, most=wanted.num_samples),
        differing=differing_settings(found.arms),
        accounts=accounts(found, every),
        provenance=provenance.facts(every),
        commands=again.steps(every, about.command),
        notes=pictures.notes,
        made=moment(time.time()),
    )


def _warnings(found: Comparison, runs: Sequence[RunRecord]) -> list[str]:
    """What a reader must know before the numbers."""
    fewest = min(len(arm.runs) for arm in found.arms)
    said = []
    if len(found.left_out):
        said.append(f"Not all runs count. {counts(found, runs)}; the list of runs says why.")
    if fewest < printing.FEW_SEEDS:
        said.append(
            f"Fewer than {printing.FEW_SEEDS} seeds: read a difference between arms as a hint."
        )
    return [*said, *mixed(found.arms)]


def default_path(home: Path, folder: str) -> Path:
    """Where the report lies unless the user names a file: beside the tables of `lab compare`."""
    return home / "compare" / folder / "report.html"

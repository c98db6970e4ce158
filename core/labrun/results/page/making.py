"""`lab report`: from chosen runs to the file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from labrun.config.words import command_line
from labrun.errors import LabError, shown, unknown
from labrun.results.cells import AUTO, INTERVALS
from labrun.results.comparison import comparison_of
from labrun.results.page import writing
from labrun.results.page.contents import About, Section, Wanted, default_path, page_of
from labrun.results.page.words import joined
from labrun.results.points import check_metrics
from labrun.results.report import folder_name
from labrun.runs.record import records
from labrun.runs.run_dir import RunDir, group_of


@dataclass(frozen=True)
class Asked:
    """What the user wants to see; `sections` are those of a caller, such as a suite's."""

    baseline: str | None = None
    interval: str = AUTO
    title: str = ""
    """The groups' names where it is empty."""
    question: str = ""
    command: Sequence[str] = ("report",)
    """The words behind `lab` that make this report."""
    wanted: Wanted = field(default_factory=Wanted)
    sections: Sequence[Section] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    """Run id -> what its arm is called, in the order of the arms; else what sets the arms apart."""


def make(
    runs: Sequence[RunDir],
    home: Path,
    console: Console,
    *,
    asked: Asked,
    path: Path | None = None,
) -> Path:
    """Write the report of these runs; returns its file, which is beside the tables of the group
    unless `path` says otherwise. What a plugin could not draw is printed.

    Raises LabError where none of the runs is done, or baseline, interval or metric is not there.
    """
    if asked.interval not in INTERVALS:
        raise unknown("--interval", asked.interval, INTERVALS)
    if path is not None and path.is_dir():
        raise LabError(f"-o {shown(str(path))} is a folder; name a file, such as report.html")
    every = records(runs)
    found = comparison_of(
        every, baseline=asked.baseline, interval=asked.interval, labels=asked.labels
    )
    check_metrics(asked.wanted.metrics, found.runs)
    about = About(
        asked.title or title_of(every),
        asked.question,
        f"lab {command_line(asked.command)}",
        asked.sections,
    )
    page = page_of(found, every, console, about=about, wanted=asked.wanted)
    target = path or default_path(home, folder_name(every, home))
    writing.write(page, target)
    return target


def title_of(runs: Sequence[RunDir]) -> str:
    """The groups of the runs, by name."""
    groups = list(dict.fromkeys(group for run in runs if (group := group_of(run))))
    if not groups:
        return "picked runs"
    more = len(groups) - 3
    shown_groups = [*groups[:3], f"{more} more"] if more > 0 else groups
    return f"{'group' if len(groups) == 1 else 'groups'} {joined(shown_groups)}"

"""What `lab bench` prints: the suites, and published numbers beside ours."""

import textwrap
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from labrun.cli.reports import print_failures, print_submitted, refuse_failed
from labrun.errors import LabError
from labrun.launch import following
from labrun.results import compare as comparison
from labrun.results.figures import profiles, style
from labrun.results.printing import print_over_tasks
from labrun.runs import run_index
from labrun.runs.run_dir import RunDir, home
from labrun.suites import finding, table, texts
from labrun.suites.formats import FIRST_NUMBER
from labrun.suites.reading import read
from labrun.suites.result import Result
from labrun.system.paths import component

WIDEST_TEXT = 100
"""Columns of a paragraph, however wide the output is."""

__all__ = ["print_head", "print_results", "print_started", "print_suites", "refuse_failed"]


def print_suites(console: Console) -> None:
    """A line for each suite of this project."""
    found = finding.files()
    if not found:
        console.print(finding.nowhere(), soft_wrap=True)
        return
    suites = [read(path) for path in found.values()]
    scales = {suite.name: ", ".join(suite.scales) for suite in suites}
    width, wide = max(map(len, scales)), max(map(len, scales.values()))
    for suite in suites:
        text = f"{suite.name:<{width}}  {scales[suite.name]:<{wide}}  {suite.question}"
        console.print(text, soft_wrap=True)
    console.print("lab bench SUITE --dry-run prints the plan; a YAML file of yours is a suite, too")


def print_head(found: Result, console: Console) -> None:
    """The question, where the published numbers come from, and what ours are."""
    console.print(f"{found.suite.name}: {found.suite.question}", soft_wrap=True)
    for title, text in texts.about(found):
        console.print(f"{title:<10} {text}", soft_wrap=True)


def print_started(started: Sequence[RunDir], console: Console) -> list[RunDir]:
    """Which of the runs that were started are under way, and the failures; returns these."""
    under_way = [run for run in started if run.status().state in following.OPEN]
    failed = print_failures([run for run in started if run not in under_way], console)
    if under_way:
        print_submitted(under_way, console)
    return failed


def print_results(found: Result, console: Console) -> None:
    """The table of what is there, and the files with it."""
    print_head(found, console)
    published = texts.published_only(found.suite, found.scale)
    if published:
        _print_columns(published, console)
        console.print()
    _print_lines(found, console)
    of = f", {texts.whose(found.scale)}, rates as fractions"
    print_over_tasks(found.over_tasks, found.baseline, console, of=of)
    for title, text in texts.remarks(found):
        console.print(_hanging(f"{title:<9}", text, console), soft_wrap=True)
    _print_counts(found, console)
    folder = home() / "compare" / component(found.group)
    _write(folder / "suite.csv", table.to_csv(found.lines, found.scale))
    console.print(f"table    {folder / 'suite.csv'}", soft_wrap=True)
    if found.rates:
        path = style.save(profiles.draw(found.rates), folder / "profile.png")
        console.print(f"profile  {path}", soft_wrap=True)


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    except OSError as error:
        raise LabError(
            f"cannot write {path}: {error.strerror}; mend it, or set LABRUN_HOME"
        ) from error


def _hanging(title: str, text: str, console: Console) -> str:
    width = min(console.width, WIDEST_TEXT)
    return textwrap.fill(text, width, initial_indent=title, subsequent_indent=" " * len(title))


def _print_columns(rows: Sequence[Sequence[str]], console: Console) -> None:
    """The rows in columns, numbers from the fourth on to the right; no value is cut off."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = [
            f"{cell:<{width}}" if column < FIRST_NUMBER else f"{cell:>{width}}"
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        console.print("  ".join(cells).rstrip(), soft_wrap=True)


def _print_lines(found: Result, console: Console) -> None:
    known = found.numbered
    if known:
        _print_columns(texts.columns(found), console)
    if empty := len(found.lines) - len(known):
        console.print(f"{empty} more lines have no number yet", soft_wrap=True)
    for note in texts.seeds_notes(known):
        console.print(note, soft_wrap=True)


def _print_counts(found: Result, console: Console) -> None:
    """How many runs there are in each state, those that do not count, and which are damaged."""
    console.print(f"runs     {found.counts()}", soft_wrap=True)
    for note in texts.run_notes(found):
        console.print(note, soft_wrap=True)
    _, damaged = comparison.whole_runs(found.held.values())
    for name, fault in damaged.items():
        console.print(f"left out, damaged: {name}: {fault}", style="yellow", soft_wrap=True)
    members = run_index.members(found.group, home())
    if strange := len(members) - len({run.id for run in found.held.values()}):
        text = f"{strange} more runs of this group have other settings or seeds, and do not count"
        console.print(text, soft_wrap=True)

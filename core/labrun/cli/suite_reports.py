"""What `lab bench` prints: the suites, and published numbers beside ours."""

import math
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence

from rich.console import Console

from labrun.cli.reports import print_failures, print_submitted, refuse_failed
from labrun.config.words import command_line
from labrun.errors import LabError
from labrun.launch import following
from labrun.results import compare as comparison
from labrun.runs import run_index
from labrun.runs.run_dir import RunDir, home
from labrun.score import number_text
from labrun.suites import finding, needed, table
from labrun.suites.needed import Needed
from labrun.suites.reading import read
from labrun.suites.suite import PUBLISHED_SCALE, Row, Scale, Suite, Unit
from labrun.system.paths import component

__all__ = ["print_head", "print_results", "print_suites", "refuse_failed"]

Held = Mapping[str, RunDir]
"""Key of a run -> the run that the group has."""
FEW_SEEDS = 5
FIRST_NUMBER = 3
"""Column of a table from which on there are numbers."""
DECIMALS: Mapping[Unit, int] = {"fraction": 3, "percent": 1, "tokens": 1, "count": 2, "return": 1}


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


def print_head(suite: Suite, scale: Scale, typed: Sequence[str], console: Console) -> None:
    """The question, where the published numbers come from, and what ours are."""
    console.print(f"{suite.name}: {suite.question}", soft_wrap=True)
    if suite.source:
        source = suite.source
        known = f" Known from: {source.read_from}." if source.read_from else ""
        of = source.of.rstrip(".")
        console.print(f"published  {source.paper}, {source.table}. {of}.{known}", soft_wrap=True)
    console.print(f"ours       {_ours(scale)}", soft_wrap=True)
    if needed.is_changed(suite, scale, typed):
        console.print(f"CHANGED    not the suite's settings: {command_line(typed)}", soft_wrap=True)
    elif typed:
        console.print(f"with       {command_line(typed)}", soft_wrap=True)


def _ours(scale: Scale) -> str:
    if scale.toy:
        return f"scale={scale.name}, A TOY RESULT, no reproduction: {scale.toy}"
    size = ", the published size" if scale.name == PUBLISHED_SCALE else ""
    return f"scale={scale.name}{size}"


def print_results(
    suite: Suite,
    scale: Scale,
    wanted: Sequence[Needed],
    held: Held,
    typed: Sequence[str],
    started: Sequence[RunDir],
    console: Console,
) -> list[RunDir]:
    """The failures of the started runs, and the table of what is there; returns the failed runs."""
    under_way = [run for run in started if run.status().state in following.OPEN]
    failed = print_failures([run for run in started if run not in under_way], console)
    if under_way:
        print_submitted(under_way, console)
    found = table.lines(scale, wanted, held)
    print_head(suite, scale, typed, console)
    _print_published(suite, scale, console)
    _print_lines(found, scale, console)
    notes = () if scale.toy else suite.notes
    for title, texts in (("expected ", [suite.expected]), ("differs  ", notes)):
        for text in filter(None, texts):
            console.print(_hanging(title, text, console), soft_wrap=True)
    _print_counts(wanted, held, console)
    group = wanted[0].experiment.run.group
    path = home() / "compare" / component(group) / "suite.csv"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(table.to_csv(found, scale))
    except OSError as error:
        raise LabError(
            f"cannot write {path}: {error.strerror}; mend it, or set LABRUN_HOME"
        ) from error
    console.print(f"table    {path}", soft_wrap=True)
    return failed


def _hanging(title: str, text: str, console: Console) -> str:
    return textwrap.fill(
        text, width=console.width, initial_indent=title, subsequent_indent=" " * len(title)
    )


def _print_published(suite: Suite, scale: Scale, console: Console) -> None:
    """The published numbers, where no row of this scale has one: they are of other rows."""
    paper = suite.published_scale()
    if paper is None or any(row.published for row in scale.rows):
        return
    rows = [row for row in paper.rows if row.published]
    if not rows:
        return
    found = [("published (nothing of it was run here)", "arm", "unit", "published")]
    for row in rows:
        for place, (arm, number) in enumerate(row.published.items()):
            name = "" if place else row.name
            found.append((name, arm, _unit(row), _as_published(number, row)))
    _print_columns(found, console)
    console.print()


def _print_columns(rows: Sequence[Sequence[str]], console: Console) -> None:
    """The rows in columns, numbers from the fourth on to the right; no value is cut off."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = [
            f"{cell:<{width}}" if column < FIRST_NUMBER else f"{cell:>{width}}"
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        console.print("  ".join(cells).rstrip(), soft_wrap=True)


def _unit(row: Row) -> str:
    return f"{row.unit} change" if row.is_change else row.unit


def _print_lines(found: Sequence[table.Line], scale: Scale, console: Console) -> None:
    """The lines that have a number, each row's name once."""
    ours = f"TOY ({scale.name})" if scale.toy else f"ours ({scale.name})"
    has_published = any(line.published is not None for line in found)
    head = ["row", "arm", "unit", *(["published"] if has_published else []), ours, "seeds"]
    rows = [head]
    last = ""
    known = [line for line in found if line.published is not None or line.ours is not None]
    for line in known:
        name = "" if line.row.name == last else line.row.name
        last = line.row.name
        published = "-" if line.published is None else _as_published(line.published, line.row)
        cells = [published] if has_published else []
        seeds = f"{line.num_seeds} of {line.num_wanted}"
        rows.append([name, line.arm, _unit(line.row), *cells, _number(line), seeds])
    if known:
        _print_columns(rows, console)
    if empty := len(found) - len(known):
        console.print(f"{empty} more lines have no number yet", soft_wrap=True)
    seeds = [line.num_seeds for line in known if line.ours is not None]
    if seeds:
        counts = " to ".join(str(n) for n in dict.fromkeys((min(seeds), max(seeds))))
        console.print(f"ours: mean over {counts} seed(s) ± half the 95% t-interval over seeds")
    if seeds and min(seeds) < FEW_SEEDS:
        console.print("fewer than 5 seeds: read a difference between arms as a hint, no more")


def _as_published(number: float, row: Row) -> str:
    """The number with as many decimals as the row's numbers have."""
    decimals = max(len(f"{one:g}".partition(".")[2]) for one in row.published.values())
    return number_text(number, decimals=decimals)


def _number(line: table.Line) -> str:
    """Mean ± half width, with the decimals of the unit."""
    if line.ours is None:
        return "-"
    decimals = DECIMALS[line.row.unit]
    mean = number_text(line.ours.mean, decimals=decimals)
    if math.isnan(line.ours.half_width):
        return mean
    return f"{mean} ± {number_text(line.ours.half_width, decimals=decimals)}"


def _print_counts(wanted: Sequence[Needed], held: Held, console: Console) -> None:
    """How many runs there are in each state, those that do not count, and which are damaged."""
    states = Counter(run.status().state for run in held.values())
    done = states.pop("done", 0)
    others = [f"{count} {state}" for state, count in sorted(states.items())]
    if left := len(wanted) - len(held):
        others.append(f"{left} not begun")
    console.print(", ".join([f"runs     {done} of {len(wanted)} done", *others]), soft_wrap=True)
    _, damaged = comparison.whole_runs(held.values())
    for name, fault in damaged.items():
        console.print(f"left out, damaged: {name}: {fault}", style="yellow", soft_wrap=True)
    members = run_index.members(wanted[0].experiment.run.group, home())
    if strange := len(members) - len({run.id for run in held.values()}):
        text = f"{strange} more runs of this group have other settings or seeds, and do not count"
        console.print(text, soft_wrap=True)

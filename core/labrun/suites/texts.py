"""A suite's result as texts: what is said above its table, the table's cells, what stands below."""

import math
from collections.abc import Mapping, Sequence

from labrun.config.words import command_line
from labrun.errors import listed
from labrun.score import number_text, seeds_text
from labrun.suites.result import Result
from labrun.suites.suite import PUBLISHED_SCALE, Row, Scale, Suite, Unit
from labrun.suites.table import Line

FEW_SEEDS = 5
DECIMALS: Mapping[Unit, int] = {
    "fraction": 3,
    "percent": 1,
    "tokens": 1,
    "count": 2,
    "return": 1,
    "score": 3,
}
Texts = tuple[str, str, str, str]
PUBLISHED_HEAD: Texts = ("published (nothing of it was run here)", "arm", "unit", "published")


def about(found: Result) -> list[tuple[str, str]]:
    """Where the published numbers come from, what ours are, and which words were typed."""
    source, said = found.suite.source, []
    if source:
        known = f" Known from: {source.read_from}." if source.read_from else ""
        of = source.of.rstrip(".")
        said.append(("published", f"{source.paper}, {source.table}. {of}.{known}"))
    said.append(("ours", _ours(found.scale)))
    if found.is_changed:
        said.append(("CHANGED", f"not the suite's settings: {command_line(found.typed)}"))
    elif found.typed:
        said.append(("with", command_line(found.typed)))
    return said


def _ours(scale: Scale) -> str:
    if scale.toy:
        return f"scale={scale.name}, A TOY RESULT, no reproduction: {scale.toy}"
    size = ", the published size" if scale.name == PUBLISHED_SCALE else ""
    return f"scale={scale.name}{size}"


def whose(scale: Scale) -> str:
    """The head of our column, which says whether it is a toy's."""
    return f"TOY ({scale.name})" if scale.toy else f"ours ({scale.name})"


def columns(found: Result) -> list[list[str]]:
    """The head and the lines that have a number, each row's name once."""
    known = found.numbered
    has_published = any(line.published is not None for line in known)
    published = ["published"] if has_published else []
    rows = [["row", "arm", "unit", *published, whose(found.scale), "seeds"]]
    last = ""
    for line in known:
        name = "" if line.row.name == last else line.row.name
        last = line.row.name
        cells = [_published(line)] if has_published else []
        seeds = f"{line.num_seeds} of {line.num_wanted}"
        rows.append([name, line.arm, unit(line.row), *cells, ours(line), seeds])
    return rows


def published_only(suite: Suite, scale: Scale) -> list[Texts]:
    """The published numbers with their head, where no row of this scale has one: they are of other
    rows. Else nothing."""
    paper = suite.published_scale()
    if paper is None or any(row.published for row in scale.rows):
        return []
    rows = [row for row in paper.rows if row.published]
    found: list[Texts] = [PUBLISHED_HEAD] if rows else []
    for row in rows:
        for place, (arm, number) in enumerate(row.published.items()):
            name = "" if place else row.name
            found.append((name, arm, unit(row), as_published(number, row)))
    return found


def seeds_notes(found: Sequence[Line]) -> list[str]:
    """What our numbers are, and whether they are of few seeds."""
    seeds = [line.num_seeds for line in found if line.ours is not None]
    if not seeds:
        return []
    said = [f"ours: mean over {seeds_text(seeds)} ± half the 95% t-interval over seeds"]
    if min(seeds) < FEW_SEEDS:
        said.append("fewer than 5 seeds: read a difference between arms as a hint, no more")
    return said


def run_notes(found: Result) -> list[str]:
    """Which arms have no number at all, and what is not known of runs of earlier versions."""
    done = {arm for arm, _, _ in found.runs}
    empty = [arm for arm in found.scale.arms if arm not in done]
    said = [f"no run of these arms is done: {', '.join(empty)}"] if done and empty else []
    if later := found.later_keys():
        text = "some runs are of an earlier version; what they lack counts at its default"
        said.append(f"{text}: {listed(later)}")
    return said


def remarks(found: Result) -> list[tuple[str, str]]:
    """What the paper says in words, and how runs at the published size differ from its own."""
    notes = () if found.scale.toy else found.suite.notes
    said = [("expected", found.suite.expected), *(("differs", note) for note in notes)]
    return [(title, text) for title, text in said if text]


def unit(row: Row) -> str:
    return f"{row.unit} change" if row.is_change else row.unit


def _published(line: Line) -> str:
    return "-" if line.published is None else as_published(line.published, line.row)


def as_published(number: float, row: Row) -> str:
    """The number with as many decimals as the row's numbers have."""
    decimals = max(len(f"{one:g}".partition(".")[2]) for one in row.published.values())
    return number_text(number, decimals=decimals)


def ours(line: Line) -> str:
    """Mean ± half width, with the decimals of the unit."""
    if line.ours is None:
        return "-"
    decimals = DECIMALS[line.row.unit]
    mean = number_text(line.ours.mean, decimals=decimals)
    if math.isnan(line.ours.half_width):
        return mean
    return f"{mean} ± {number_text(line.ours.half_width, decimals=decimals)}"

"""The table as it is printed: text in cells, the best of a row, marks of significance, notes."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from labrun.results.cells import MEANING, Cell
from labrun.results.compare import START, Table, named_intervals
from labrun.results.paired import Difference

HIGHER = ("accuracy", "pass@", "return", "win_rate", "reward", "success", "score")
"""Beginnings of metrics of which more is better."""
LOWER = ("loss", "error", "perplexity", "regret")
MARKS = ((0.01, "**"), (0.05, "*"))
"""Level of the corrected p and its mark."""


@dataclass(frozen=True)
class Entry:
    """One cell: its text, whether it is the best of its row, and its mark."""

    text: str
    is_best: bool = False
    mark: str = ""


@dataclass(frozen=True)
class Sheet:
    """Rows of task and metric with an entry for each column, and the sentences below them."""

    columns: tuple[str, ...]
    rows: Mapping[tuple[str, str], Sequence[Entry | None]]
    notes: Sequence[str]


def sheet_of(
    table: Table,
    against: Sequence[Difference] = (),
    *,
    baseline: str | None = None,
    lower: Sequence[str] = (),
) -> Sheet:
    """The table with the best arm of each row, where the metric says what is better, and marks of
    the arms that differ from the baseline."""
    ps = {(d.task, d.metric, d.arm): d.p_holm for d in against if d.by == "seeds"}
    rows = {}
    for key, cells in table.rows.items():
        best = best_of(cells, direction(key[1], lower=lower, task=key[0]))
        rows[key] = [
            Entry(str(cells[column]), column in best, _mark(ps.get((*key, column), math.nan)))
            if column in cells
            else None
            for column in table.columns
        ]
    bold = any(entry and entry.is_best for entries in rows.values() for entry in entries)
    return Sheet(table.columns, rows, [*_notes(table, bold), *_test_notes(against, baseline)])


def direction(metric: str, *, lower: Sequence[str] = (), task: str = "") -> int:
    """1 where more of the metric is better, -1 where less is, 0 where neither is known."""
    if metric in lower or f"{task}/{metric}" in lower:
        return -1
    name = metric.rpartition("/")[2]
    if name.startswith(HIGHER):
        return 1
    return -1 if name.startswith(LOWER) else 0


def best_of(cells: Mapping[str, Cell], sign: int) -> list[str]:
    """The columns whose mean, as it is printed, is the best; none of one column alone.

    The scores before training take no part.
    """
    means = {
        column: round(cell.mean, 3)
        for column, cell in cells.items()
        if not _is_start(column) and not math.isnan(cell.mean)
    }
    if sign == 0 or len(means) < 2:
        return []
    best = max(sign * mean for mean in means.values())
    return [column for column, mean in means.items() if sign * mean == best]


def _is_start(column: str) -> bool:
    return column == START or column.startswith(f"{START} ")


def _mark(p: float) -> str:
    return next((mark for level, mark in MARKS if p < level), "")


def interval_notes(table: Table) -> list[str]:
    """What stands behind the ±, interval by interval, with the columns where they differ."""
    used = named_intervals(table)
    if not used:
        return ["one number a cell: there is neither a second seed nor a second problem"]
    several = len(used) > 1
    return [
        ("brackets: " if by == "bootstrap" else "±: half ")
        + MEANING[by]
        + (f" (one seed: {', '.join(columns)})" if several and by == "problems" else "")
        for by, columns in used.items()
    ]


def _notes(table: Table, bold: bool) -> list[str]:
    notes = ["mean over seeds", *interval_notes(table)]
    if nans := not_finite(table):
        notes.append(f"not finite in some run: {', '.join(nans)}")
    return [*notes, *(["bold: the best mean of the row"] if bold else [])]


def not_finite(table: Table) -> list[str]:
    """The cells, as `in_domain/accuracy of grpo`, of which some run has no finite score."""
    return [
        f"{task}/{metric} of {column}"
        for (task, metric), cells in table.rows.items()
        for column, cell in cells.items()
        if not math.isfinite(cell.mean)
    ]


def _test_notes(against: Sequence[Difference], baseline: str | None) -> list[str]:
    if not against:
        return []
    marks = ", ".join(f"{mark} p < {level}" for level, mark in reversed(MARKS))
    notes = [
        f"{marks}: t-test against {baseline}, paired by seed, after Holm's correction over the "
        "arms and tasks of the metric"
    ]
    if any(d.by == "problems" for d in against):
        notes.append(
            "no mark where there is one seed in common: a test by problem says nothing of other "
            "seeds"
        )
    return notes

"""The table as it is printed: text in cells, the best of a row, marks of significance, notes."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from labrun.results.cells import MEANING
from labrun.results.compare import START, Table, named_intervals
from labrun.results.directions import direction
from labrun.results.over_tasks import Aggregate
from labrun.results.paired import Difference
from labrun.results.statistics.intervals import Bounded, Interval
from labrun.score import seeds_text

MOST_TASKS = 8
"""Tasks that a note names."""
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
    """Rows of task and metric with an entry for each column, and the sentences below them.

    `summary` are the rows of several tasks at once, which stand last.
    """

    columns: tuple[str, ...]
    rows: Mapping[tuple[str, str], Sequence[Entry | None]]
    notes: Sequence[str]
    summary: Mapping[tuple[str, str], Sequence[Entry | None]] = field(default_factory=dict)


def sheet_of(
    table: Table,
    against: Sequence[Difference] = (),
    *,
    baseline: str | None = None,
    lower: Sequence[str] = (),
    over_tasks: Sequence[Aggregate] = (),
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
    summary = _summary(over_tasks, table.columns, baseline, lower)
    every = [entry for of in (rows, summary) for entries in of.values() for entry in entries]
    bold = any(entry and entry.is_best for entry in every)
    notes = [*_notes(table, bold), *task_notes(over_tasks, baseline)]
    marked = any(entry and entry.mark for entries in rows.values() for entry in entries)
    tests = _test_notes(against, baseline, is_marked=marked)
    return Sheet(table.columns, rows, [*notes, *tests], summary)


def _summary(
    over_tasks: Sequence[Aggregate],
    columns: Sequence[str],
    baseline: str | None,
    lower: Sequence[str],
) -> dict[tuple[str, str], list[Entry | None]]:
    """For each metric its mean over tasks, its IQM, and the chance to be better."""
    rows: dict[tuple[str, str], list[Entry | None]] = {}
    for metric in dict.fromkeys(one.metric for one in over_tasks):
        by_arm = {one.arm: one for one in over_tasks if one.metric == metric}
        tasks = f"{len(next(iter(by_arm.values())).tasks)} tasks"
        for name, of, sign in (
            ("mean", lambda one: one.mean, direction(metric, lower=lower)),
            ("IQM", lambda one: one.iqm, direction(metric, lower=lower)),
            (f"better than {baseline}", lambda one: one.better, 0),
        ):
            found = {arm: value for arm, one in by_arm.items() if (value := of(one)) is not None}
            best = best_of(found, sign)
            if found:
                rows[tasks, f"{metric}, {name}"] = [
                    Entry(str(found[column]), column in best) if column in found else None
                    for column in columns
                ]
    return rows


def best_of(cells: Mapping[str, Interval | Bounded], sign: int) -> list[str]:
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


def seeds_note(table: Table) -> str:
    """Over how many seeds the means are, by column where the columns differ."""
    counts: dict[str, set[int]] = {}
    for cells in table.rows.values():
        for column, cell in cells.items():
            if not _is_start(column):
                counts.setdefault(column, set()).add(cell.n)
    by_text: dict[str, list[str]] = {}
    for column, found in counts.items():
        by_text.setdefault(seeds_text(found), []).append(column)
    if len(by_text) < 2:
        return f"mean over {next(iter(by_text), 'seeds')}"
    return "mean over " + "; ".join(f"{text} ({', '.join(by_text[text])})" for text in by_text)


def _notes(table: Table, bold: bool) -> list[str]:
    notes = [seeds_note(table), *interval_notes(table)]
    if "problems" in named_intervals(table):
        notes.append("an interval over problems says nothing of other seeds")
    if nans := not_finite(table):
        notes.append(f"not finite in some run: {', '.join(nans)}")
    return [*notes, *(["bold: the best mean of the row"] if bold else [])]


def task_notes(over_tasks: Sequence[Aggregate], baseline: str | None) -> list[str]:
    """What stands in the rows of several tasks; nothing where there are none."""
    if not over_tasks:
        return []
    by_tasks: dict[tuple[str, ...], dict[str, None]] = {}
    for one in over_tasks:
        by_tasks.setdefault(one.tasks, {})[one.metric] = None
    notes = [
        f"over {len(tasks)} tasks ({_some(tasks)}): {', '.join(metrics)}"
        for tasks, metrics in by_tasks.items()
    ]
    if any(one.iqm for one in over_tasks):
        notes.append(
            "mean: over tasks, ± half the 95% t-interval over seeds where there are several; IQM: "
            "mean of the scores of all seeds and tasks without their lowest and highest quarter "
            "(arXiv 2108.13264)"
        )
    if any(one.better for one in over_tasks):
        notes.append(
            f"better than {baseline}: chance that a run of the arm beats one of {baseline} on a "
            "task, a tie being one half; mean over tasks"
        )
    brackets = [one.iqm or one.better for one in over_tasks]
    if any(found and not math.isnan(found.low) for found in brackets):
        notes.append(
            "brackets over tasks: nominal 95% bootstrap over seeds, each drawn with all its tasks; "
            "too narrow below 10 seeds: with 3 seeds they hold the true IQM in about 3 of 4 studies"
        )
    return notes


def _some(tasks: Sequence[str]) -> str:
    more = len(tasks) - MOST_TASKS
    return ", ".join(tasks[:MOST_TASKS]) + (f" and {more} more" if more > 0 else "")


def not_finite(table: Table) -> list[str]:
    """The cells, as `in_domain/accuracy of grpo`, of which some run has no finite score."""
    return [
        f"{task}/{metric} of {column}"
        for (task, metric), cells in table.rows.items()
        for column, cell in cells.items()
        if not math.isfinite(cell.mean)
    ]


def _test_notes(
    against: Sequence[Difference], baseline: str | None, *, is_marked: bool
) -> list[str]:
    notes = []
    if any(d.by == "seeds" for d in against):
        marks = ", ".join(f"{mark} p < {level}" for level, mark in reversed(MARKS))
        meaning = marks if is_marked else f"no star, since no p < {MARKS[-1][0]}"
        notes.append(
            f"{meaning}: t-test against {baseline}, paired by seed, after Holm's correction over "
            "the arms and tasks of the metric, not over metrics"
        )
    if any(d.by == "problems" for d in against):
        notes.append(
            "no star where there is one seed in common: a test by problem says nothing of other "
            "seeds"
        )
    return notes

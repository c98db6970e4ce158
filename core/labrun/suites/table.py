"""Published numbers beside ours: a line for each row and arm of a suite."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from labrun.results import compare
from labrun.results.statistics.intervals import Interval, t_interval
from labrun.runs.record import RunRecord
from labrun.runs.run_dir import RunDir
from labrun.score import Score
from labrun.suites.needed import Needed, key_of
from labrun.suites.suite import Row, Scale, unit_of

Scores = Mapping[tuple[str, str], Mapping[int, Score]]
PERCENT = 100.0


@dataclass(frozen=True)
class Line:
    """One row of an arm. `ours` is None before any seed has all its runs."""

    row: Row
    arm: str
    published: float | None
    ours: Interval | None
    num_seeds: int
    """Seeds that count."""
    num_wanted: int
    """Seeds of the suite."""


Point = tuple[tuple[str, str], ...]
"""Axis and label, of every axis."""
Runs = Mapping[tuple[str, Point, int], RunRecord]
"""(arm, point, seed) -> the done run."""


def point_of(one: Needed) -> Point:
    return tuple(one.point.items())


def done_runs(wanted: Sequence[Needed], held: Mapping[str, RunDir]) -> Runs:
    """The runs of the suite that are done and whole."""
    done, _ = compare.whole_runs(held.values())
    by_id = {run.id: run for run in done}
    return {
        (one.arm, point_of(one), one.seed): by_id[run.id]
        for one in wanted
        if (run := held.get(key_of(one.experiment))) is not None and run.id in by_id
    }


def lines(scale: Scale, wanted: Sequence[Needed], runs: Runs) -> list[Line]:
    """The table of the scale, rows in the file's order; without rows, every score of the runs."""
    rows = scale.rows or every_row(scale, list(runs.values()))
    return [_line(row, arm, wanted, runs) for row in rows for arm in scale.arms]


def every_row(scale: Scale, runs: Sequence[RunRecord]) -> tuple[Row, ...]:
    """A row for each score of the runs, at each combination of the axes' labels."""
    names = dict.fromkeys(key for run in runs for key in run.scores())
    points: list[dict[str, str]] = [{}]
    for axis, labels in scale.axes.items():
        points = [point | {axis: label} for point in points for label in labels]
    return tuple(
        Row(
            name=" ".join([task, metric, *at.values()]),
            tasks={task: 1.0},
            metric=metric,
            unit=unit_of(metric),
            at=at,
        )
        for task, metric in names
        for at in points
    )


def _line(row: Row, arm: str, wanted: Sequence[Needed], runs: Runs) -> Line:
    """A seed counts once all its runs, at the labels that the row does not fix, have the score."""
    by_seed: dict[int, list[float | None]] = {}
    for one in wanted:
        if one.arm == arm and row.at.items() <= one.point.items():
            run = runs.get((arm, point_of(one), one.seed))
            by_seed.setdefault(one.seed, []).append(value(run.scores(), row) if run else None)
    whole = [
        [v for v in values if v is not None] for values in by_seed.values() if None not in values
    ]
    means = [fmean(values) for values in whole]
    ours = t_interval(means) if means else None
    return Line(row, arm, row.published.get(arm), ours, len(means), len(by_seed))


def value(scores: Scores, row: Row) -> float | None:
    """The row's value in one run, in the row's unit; None where a score is not there."""
    found = [_value(scores.get((task, row.metric), {}), row) for task in row.tasks]
    known = [one for one in found if one is not None]
    if len(known) < len(found):
        return None
    total = sum(row.tasks.values())
    mean = sum(w * v for w, v in zip(row.tasks.values(), known, strict=True)) / total
    return PERCENT * mean if row.unit == "percent" else mean


def _value(steps: Mapping[int, Score], row: Row) -> float | None:
    """The last score, or its change since step 0 relative to that one."""
    if not steps:
        return None
    last = steps[max(steps)].value
    if not row.is_change:
        return last
    first = steps[0].value if 0 in steps and len(steps) > 1 else 0.0
    return last / first - 1 if first else None


def to_csv(found: Sequence[Line], scale: Scale) -> str:
    """One line a row and arm; `toy` says whether ours is a toy result."""
    out = io.StringIO()
    writer = csv.writer(out)
    head = ["row", "arm", "unit", "published", "ours", "t95_half_width", "num_seeds"]
    writer.writerow([*head, "num_seeds_wanted", "scale", "toy"])
    for line in found:
        published = "" if line.published is None else line.published
        ours = ["", ""] if line.ours is None else [line.ours.mean, _finite(line.ours.half_width)]
        counts = [line.num_seeds, line.num_wanted]
        toy = "yes" if scale.toy else "no"
        writer.writerow(
            [line.row.name, line.arm, line.row.unit, published, *ours, *counts, scale.name, toy]
        )
    return out.getvalue()


def _finite(number: float) -> float | str:
    return "" if math.isnan(number) else number

"""Runs compared: a table of scores."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from labrun.results.arms import Arm, arms, check_seeds, whole_runs
from labrun.results.cells import MEANING, Cell, cell_of
from labrun.results.means import unlike_means
from labrun.results.starts import START, start_scores, starting_alike
from labrun.score import Score

__all__ = ["START", "Arm", "Table", "arms", "check_seeds", "table", "whole_runs"]

HEADER = (
    *("task", "metric", "arm", "mean", "t95_half_width", "num_seeds"),
    *("interval", "low", "high", "num_problems"),
)


@dataclass(frozen=True)
class Table:
    """Rows (task, metric), one column an arm; `start` is the score before training, if taken: one
    column for each network and data set that arms start from."""

    columns: tuple[str, ...]
    rows: Mapping[tuple[str, str], Mapping[str, Cell]]

    def to_csv(self) -> str:
        """A line a cell. `t95_half_width` is nan where the interval is not over seeds."""
        out = io.StringIO()
        writer = csv.writer(out)
        writer.writerow(HEADER)
        for (task, metric), cells in self.rows.items():
            for arm, cell in cells.items():
                half = cell.half_width if cell.by == "seeds" else math.nan
                ends = [cell.by, cell.low, cell.high, cell.num_problems]
                writer.writerow([task, metric, arm, cell.mean, half, cell.n, *ends])
        return out.getvalue()

    def only(self, names: Sequence[str]) -> "Table":
        """The rows of these metrics, named as METRIC or TASK/METRIC; all without names."""
        rows = {
            (task, metric): cells
            for (task, metric), cells in self.rows.items()
            if not names or metric in names or f"{task}/{metric}" in names
        }
        return Table(self.columns, rows)

    def of_arms(self, labels: Sequence[str]) -> "Table":
        """The columns of these arms alone, without those of the start, and the rows they have."""
        rows = {
            key: kept
            for key, cells in self.rows.items()
            if (kept := {label: cells[label] for label in labels if label in cells})
        }
        return Table(tuple(labels), rows)


def table(compared: Sequence[Arm], *, interval: str = "seeds") -> Table:
    """Mean over seeds of every score at its last step, with an interval (a name of `INTERVALS`).

    Means over other tasks in some runs than in others are left out.
    Raises LabError where an arm holds a seed twice.
    """
    seeds = check_seeds(compared)
    scores = {run.id: run.scores() for arm in compared for run in arm.runs}
    starts = starting_alike(compared, scores, seeds)
    unlike = unlike_means(compared)
    keys = dict.fromkeys(key for found in scores.values() for key in found if key[0] not in unlike)
    rows = {}
    for key in keys:
        steps = {run_id: found.get(key, {}) for run_id, found in scores.items()}
        row = {
            name: cell_of(start_scores(arms, steps, seeds), interval)
            for name, arms in starts.items()
        }
        for arm in compared:
            row[arm.label] = cell_of(
                [_last(steps[run.id]) for run in arm.runs if steps[run.id]], interval
            )
        rows[key] = {name: cell for name, cell in row.items() if cell is not None}
    return Table((*starts, *(arm.label for arm in compared)), rows)


def named_intervals(made: Table) -> dict[str, list[str]]:
    """Interval, a key of MEANING -> the columns that have it somewhere."""
    used: dict[str, dict[str, None]] = {}
    for cells in made.rows.values():
        for column, cell in cells.items():
            if not math.isnan(cell.half_width):
                used.setdefault(cell.by, {})[column] = None
    return {by: list(used[by]) for by in MEANING if by in used}


def _last(steps: Mapping[int, Score]) -> list[Score]:
    return [steps[max(steps)]]

"""Runs compared: a table of scores and a figure of learning curves."""

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from labrun.errors import LabError, unknown
from labrun.results.differing import (
    Settings,
    labels,
    settings_of,
    start_names,
    tells_start,
    words_of,
)
from labrun.results.statistics.intervals import Interval, t_interval
from labrun.runs import damage
from labrun.runs.record import RunRecord, records
from labrun.runs.run_dir import RunDir
from labrun.score import Score

Scores = Mapping[tuple[str, str], Mapping[int, Score]]
START = "start"
MARKED = 20
"""Points up to which each is marked."""


@dataclass(frozen=True)
class Arm:
    """Runs that differ only in their seed, under the label that sets them apart from the others."""

    label: str
    runs: tuple[RunRecord, ...]


@dataclass(frozen=True)
class Table:
    """Rows (task, metric), one column an arm; `start` is the score before training, if taken: one
    column for each network and data set that arms start from."""

    columns: tuple[str, ...]
    rows: Mapping[tuple[str, str], Mapping[str, Interval]]

    def to_csv(self) -> str:
        out = io.StringIO()
        writer = csv.writer(out)
        writer.writerow(["task", "metric", "arm", "mean", "t95_half_width", "num_seeds"])
        for (task, metric), cells in self.rows.items():
            for arm, cell in cells.items():
                writer.writerow([task, metric, arm, cell.mean, cell.half_width, cell.n])
        return out.getvalue()


def arms(runs: Iterable[RunDir]) -> list[Arm]:
    """The done runs by their resolved settings, labelled by what sets them apart.

    A damaged run is in none. Seed, group, resources and launcher do not part runs, nor how a
    setting was worded.
    """
    done, damaged = whole_runs(runs)
    if not done and damaged:
        raise LabError(
            f"all of these runs that are done are damaged: {next(iter(damaged.values()))}"
        )
    if not done:
        raise LabError("none of these runs is done; `lab runs` shows their states")
    settings = {run.id: settings_of(run) for run in done}
    grouped: dict[str, list[RunRecord]] = {}
    for run in done:
        grouped.setdefault(json.dumps(settings[run.id], sort_keys=True), []).append(run)
    members = list(grouped.values())
    names = labels([settings[runs[0].id] for runs in members], words_of(done))
    return [Arm(label, tuple(runs)) for label, runs in sorted(zip(names, members, strict=True))]


def whole_runs(runs: Iterable[RunDir]) -> tuple[list[RunRecord], dict[str, str]]:
    """The sound done runs; and id -> what is damaged, for the others."""
    whole, damaged = [], {}
    for run in records(runs):
        state = run.status().state
        fault = damage.of_results(run) if state in ("done", *damage.DAMAGED) else None
        if fault is not None:
            damaged[run.id] = fault
        elif state == "done":
            whole.append(run)
    return whole, damaged


def check_seeds(compared: Sequence[Arm]) -> dict[str, int]:
    """The seed of each run, by its id.

    Raises LabError where an arm holds a seed twice: its interval would be too narrow.
    """
    seeds = {run.id: run.experiment().run.seed for arm in compared for run in arm.runs}
    for arm in compared:
        if len({seeds[run.id] for run in arm.runs}) < len(arm.runs):
            raise LabError(
                f"{arm.label!r} has runs of equal seed; name the runs or a group to compare"
            )
    return seeds


def table(compared: Sequence[Arm]) -> Table:
    """Mean and 95% t-interval over seeds of every score at its last step.

    Raises LabError where an arm holds a seed twice.
    """
    seeds = check_seeds(compared)
    scores = {run.id: run.scores() for arm in compared for run in arm.runs}
    starts = _starting_alike(compared, scores, seeds)
    keys = dict.fromkeys(key for found in scores.values() for key in found)
    rows = {}
    for key in keys:
        steps = {run_id: found.get(key, {}) for run_id, found in scores.items()}
        row = {name: _cell(_starts(arms, steps, seeds)) for name, arms in starts.items()}
        row |= {a.label: _cell([_last(steps[r.id]) for r in a.runs]) for a in compared}
        rows[key] = {arm: cell for arm, cell in row.items() if cell is not None}
    return Table((*starts, *(arm.label for arm in compared)), rows)


@dataclass(frozen=True)
class _Start:
    """How an arm began: its settings, its data, and (seed, task, metric) -> the first score."""

    arm: Arm
    settings: Settings
    data: str | None
    scores: Mapping[tuple[int, str, str], float]

    def alike(self, other: "_Start") -> bool:
        """Whether data and network are the same by their settings, or by the scores they gave."""
        keys = [key for key in {**self.settings, **other.settings} if tells_start(key)]
        same_data = self.data is None or other.data is None or self.data == other.data
        if same_data and all(self.settings.get(k) == other.settings.get(k) for k in keys):
            return True
        common = self.scores.keys() & other.scores.keys()
        same_rows = {key[1:] for key in self.scores} == {key[1:] for key in other.scores}
        return bool(common) and same_rows and all(self._close(other, key) for key in common)

    def _close(self, other: "_Start", key: tuple[int, str, str]) -> bool:
        return math.isclose(self.scores[key], other.scores[key], rel_tol=1e-9, abs_tol=1e-12)


def _starting_alike(
    compared: Sequence[Arm], scores: Mapping[str, Scores], seeds: Mapping[str, int]
) -> dict[str, list[Arm]]:
    """Column of scores before training -> the arms of which it is the mean.

    One column `start` where all begin with the same network and are scored on the same data, else
    one for each network and data set. Arms that were not scored before training are in none.
    """
    groups: list[list[_Start]] = []
    for start in filter(lambda one: one.scores, (_start(arm, scores, seeds) for arm in compared)):
        group = next((group for group in groups if group[0].alike(start)), None)
        if group is None:
            groups.append([start])
        else:
            group.append(start)
    arms = [[start.arm for start in group] for group in groups]
    if len(groups) < 2:
        return dict(zip([START], arms, strict=False))
    settings = [[start.settings for start in group] for group in groups]
    names = start_names(settings, [[arm.label for arm in group] for group in arms])
    return {f"{START} {name}": group for name, group in zip(names, arms, strict=True)}


def _start(arm: Arm, scores: Mapping[str, Scores], seeds: Mapping[str, int]) -> _Start:
    firsts = {
        (seeds[run.id], *key): first
        for run in arm.runs
        for key, steps in scores[run.id].items()
        if (first := _first(steps)) is not None
    }
    return _Start(arm, settings_of(arm.runs[0]), arm.runs[0].data_fingerprint(), firsts)


def _starts(
    compared: Sequence[Arm], steps: Mapping[str, Mapping[int, Score]], seeds: Mapping[str, int]
) -> list[float]:
    """One value a seed: the arms' runs of equal seed start alike, which must not narrow it."""
    by_seed: dict[int, list[float]] = {}
    for run in (run for arm in compared for run in arm.runs):
        first = _first(steps[run.id])
        if first is not None:
            by_seed.setdefault(seeds[run.id], []).append(first)
    return [float(np.mean(values)) for values in by_seed.values()]


def _cell(values: Sequence[float | None]) -> Interval | None:
    known = [value for value in values if value is not None]
    return t_interval(known) if known else None


def _last(steps: Mapping[int, Score]) -> float | None:
    return steps[max(steps)].value if steps else None


def _first(steps: Mapping[int, Score]) -> float | None:
    """The score before training; None without a later one."""
    return steps[0].value if 0 in steps and len(steps) > 1 else None


def curves(compared: Sequence[Arm], metrics: Sequence[str], path: Path, *, smooth: int = 1) -> Path:
    """A PNG with one panel a metric: mean over seeds and 95% t-interval.

    A metric is a logged series (`reward`), of which `smooth` steps are averaged, or a score over
    steps (`in_domain/accuracy`), drawn as it was taken.
    """
    from matplotlib.figure import Figure

    width = min(len(metrics), 3)
    height = -(-len(metrics) // width)
    figure = Figure(figsize=(4.6 * width, 3.4 * height), layout="constrained")
    axes = figure.subplots(height, width, squeeze=False).ravel()
    for axis, metric in zip(axes, metrics, strict=False):
        logged = any(metric in run.series() for arm in compared for run in arm.runs)
        window = smooth if logged else 1
        for arm in compared:
            _draw(axis, arm, metric, window)
        title = f"{metric} (mean of {window} steps)" if window > 1 else metric
        axis.set_title(title, parse_math=False)
        axis.set_xlabel("optimizer step")
        axis.grid(alpha=0.3)
    for axis in axes[len(metrics) :]:
        axis.axis("off")
    for text in axes[0].legend(frameon=False).get_texts():
        text.set_parse_math(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    return path


def _draw(axis, arm: Arm, metric: str, smooth: int) -> None:
    series = [found for run in arm.runs if (found := points(run, metric))]
    if not series:
        return
    steps = sorted(set.intersection(*(set(found) for found in series)))
    values = np.array([_smoothed([found[s] for s in steps], smooth) for found in series])
    bands = [t_interval(column) for column in values.T]
    mean = np.array([band.mean for band in bands])
    marker = "o" if len(steps) <= MARKED else None
    label = f"{arm.label} (n={len(series)})"
    (line,) = axis.plot(steps, mean, label=label, marker=marker, markersize=4)
    if len(series) > 1:
        half = np.array([band.half_width for band in bands])
        axis.fill_between(steps, mean - half, mean + half, color=line.get_color(), alpha=0.15, lw=0)


def _smoothed(values: Sequence[float], window: int) -> np.ndarray:
    """Mean over the last `window` values up to each one."""
    sums = np.cumsum(np.insert(np.asarray(values, float), 0, 0.0))
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(ends - window, 0)
    return (sums[ends] - sums[starts]) / (ends - starts)


def points(run: RunDir, metric: str) -> dict[int, float]:
    """Step -> value of a logged series or of a score."""
    logged = run.series()
    if metric in logged:
        return logged[metric]
    task, _, name = metric.rpartition("/")
    return {step: score.value for step, score in run.scores().get((task, name), {}).items()}


def metric_names(runs: Iterable[RunDir]) -> list[str]:
    """Every name that `points` knows for any of the runs."""
    names: dict[str, None] = {}
    for run in runs:
        names |= dict.fromkeys(run.series())
        names |= {f"{task}/{metric}": None for task, metric in run.scores()}
    return list(names)


def check_metrics(wanted: Sequence[str], runs: Sequence[RunDir]) -> None:
    known = metric_names(runs)
    for name in wanted:
        if name not in known:
            raise unknown("metric", name, known)

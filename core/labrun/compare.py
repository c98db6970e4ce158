"""Runs beside each other: a table of scores and a figure of learning curves."""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from labrun.config import flat
from labrun.contract import Score
from labrun.errors import LabError, unknown
from labrun.intervals import Interval, t_interval
from labrun.run_dir import RunDir

START = "start"
MARKED = 20
"""Points up to which each is marked."""


@dataclass(frozen=True)
class Arm:
    """Runs that differ only in their seed, under the label that sets them apart from the others."""

    label: str
    runs: tuple[RunDir, ...]


@dataclass(frozen=True)
class Table:
    """Rows (task, metric), one column an arm; `start` is the score before training, if taken."""

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

    Seed, group, resources and launcher do not part runs, nor how a setting was worded.
    """
    done = [run for run in runs if run.status().state == "done"]
    if not done:
        raise LabError("none of these runs is done; `lab runs` shows their states")
    settings = {run.id: _settings(run) for run in done}
    grouped: dict[str, list[RunDir]] = {}
    for run in done:
        grouped.setdefault(json.dumps(settings[run.id], sort_keys=True), []).append(run)
    found = [(settings[members[0].id], members) for members in grouped.values()]
    labelled = {_label(mine, [other for other, _ in found]): runs for mine, runs in found}
    return [Arm(label, tuple(members)) for label, members in sorted(labelled.items())]


def _settings(run: RunDir) -> dict[str, object]:
    """Everything that the run's result depends on but its seed, by flat key."""
    experiment = run.experiment()
    named = {f"{section}.component": name for section, name in experiment.components.items()}
    return {
        "plugin": experiment.plugin,
        **experiment.choices,
        **named,
        **dict(flat(experiment.settings)),
    }


def _label(mine: Mapping[str, object], arms: Sequence[Mapping[str, object]]) -> str:
    """The method, and each key that differs between the arms of this method."""
    alike = [arm for arm in arms if _method(arm) == _method(mine)]
    keys = dict.fromkeys(key for arm in alike for key in arm)
    differing = [key for key in keys if len({str(arm.get(key)) for arm in alike}) > 1]
    tails = [key.rsplit(".", 1)[-1] for key in differing]
    short = {k: t if tails.count(t) == 1 else k for k, t in zip(differing, tails, strict=True)}
    words = [f"{short[key]}={mine.get(key)}" for key in sorted(differing)]
    several = len({arm["plugin"] for arm in arms}) > 1
    name = f"{mine['plugin']}/{_method(mine)}" if several else str(_method(mine))
    return " ".join([name, *words])


def _method(settings: Mapping[str, object]) -> object:
    return settings.get("method", settings["plugin"])


def table(compared: Sequence[Arm]) -> Table:
    """Mean and 95% t-interval over seeds of every score at its last step.

    Raises LabError where an arm holds a seed twice: its interval would be too narrow.
    """
    for arm in compared:
        seeds = [run.experiment().run.seed for run in arm.runs]
        if len(set(seeds)) < len(seeds):
            raise LabError(
                f"{arm.label!r} has runs of equal seed; name the runs or a group to compare"
            )
    scores = {run.id: run.scores() for arm in compared for run in arm.runs}
    keys = dict.fromkeys(key for found in scores.values() for key in found)
    rows = {}
    for key in keys:
        row = {
            START: _cell(_starts(compared, {i: found.get(key, {}) for i, found in scores.items()}))
        }
        row |= {
            a.label: _cell([_last(scores[r.id].get(key, {})) for r in a.runs]) for a in compared
        }
        rows[key] = {arm: cell for arm, cell in row.items() if cell is not None}
    start = (START,) if any(START in row for row in rows.values()) else ()
    return Table((*start, *(arm.label for arm in compared)), rows)


def _starts(compared: Sequence[Arm], steps: Mapping[str, Mapping[int, Score]]) -> list[float]:
    """One value a seed: the arms' runs of equal seed start alike, which must not narrow it."""
    by_seed: dict[int, list[float]] = {}
    for run in (run for arm in compared for run in arm.runs):
        first = _first(steps[run.id])
        if first is not None:
            by_seed.setdefault(run.experiment().run.seed, []).append(first)
    return [float(np.mean(values)) for values in by_seed.values()]


def _cell(values: Sequence[float | None]) -> Interval | None:
    known = [value for value in values if value is not None]
    return t_interval(known) if known else None


def _last(steps: Mapping[int, Score]) -> float | None:
    return steps[max(steps)].value if steps else None


def _first(steps: Mapping[int, Score]) -> float | None:
    """The score before training, where there is one besides the last."""
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
        axis.set(title=title, xlabel="optimizer step")
        axis.grid(alpha=0.3)
    for axis in axes[len(metrics) :]:
        axis.axis("off")
    axes[0].legend(frameon=False)
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

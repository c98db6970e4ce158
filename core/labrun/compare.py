"""Runs beside each other: a table of scores and a figure of learning curves."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from labrun.contract import Score
from labrun.errors import LabError, unknown
from labrun.intervals import Interval, t_interval
from labrun.run_dir import RunDir

ALWAYS_ALIKE = ("plugin", "seed", "group", "launcher", "tracking.uri", "resources")
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
    """The runs by what the user varied beside the seed; only runs that are done count."""
    done = [run for run in runs if run.status().state == "done"]
    if not done:
        raise LabError("none of these runs is done; `lab runs` shows their states")
    varied = {run.id: _varied(run) for run in done}
    names = {key for values in varied.values() for key in values}
    differing = [k for k in sorted(names) if len({v.get(k) for v in varied.values()}) > 1]
    grouped: dict[str, list[RunDir]] = {}
    for run in done:
        grouped.setdefault(_label(run, varied[run.id], differing), []).append(run)
    return [Arm(label, tuple(members)) for label, members in sorted(grouped.items())]


def _varied(run: RunDir) -> dict[str, str]:
    experiment = run.experiment()
    pairs = dict(text.split("=", 1) for text in experiment.overrides)
    chosen = {"plugin": experiment.plugin, **experiment.choices}
    return chosen | {k: v for k, v in pairs.items() if not _always_alike(k)}


def _always_alike(key: str) -> bool:
    return any(key == name or key.startswith(f"{name}.") for name in ALWAYS_ALIKE)


def _label(run: RunDir, values: Mapping[str, str], differing: Sequence[str]) -> str:
    method = values.get("method", run.experiment().plugin)
    rest = [f"{k}={values[k]}" for k in differing if k != "method" and k in values]
    return " ".join([method, *rest])


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

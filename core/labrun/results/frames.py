"""Runs, scores and series as pandas frames, and as files of CSV or Parquet."""

import json
import math
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labrun.config.credentials import masked
from labrun.errors import LabError, unknown
from labrun.results.over_tasks import Aggregate
from labrun.runs import notes
from labrun.runs.facts import last_scores, settings_of
from labrun.runs.run_dir import RunDir
from labrun.runs.run_index import Entry
from labrun.system.json_files import reason

if TYPE_CHECKING:
    from pandas import DataFrame

FORMATS = (".csv", ".parquet")
RUN_COLUMNS = ("id", "name", "state", "step", "group", "created", "tags", "note", "archived")
SCORE_COLUMNS = ("run", "plugin", "method", "seed", "task", "metric", "step", "value", "n")
TASK_COLUMNS = (
    *("metric", "arm", "num_tasks", "num_seeds"),
    *("mean", "mean_low", "mean_high", "iqm", "iqm_low", "iqm_high"),
    *("better_than_baseline", "better_than_baseline_low", "better_than_baseline_high"),
)
SERIES_COLUMNS = ("run", "plugin", "method", "seed", "metric", "step", "value")


def runs(entries: Iterable[Entry]) -> "DataFrame":
    """One row a run: state and notes, every setting by its full key, and TASK/METRIC scores of the
    last step.

    Raises DamagedError where a run's spec or events are damaged.
    """
    from pandas import DataFrame

    rows = [_row(entry) for entry in entries]
    keys = dict.fromkeys(key for row in rows for key in row)
    columns = dict.fromkeys(RUN_COLUMNS) | keys
    return DataFrame({key: _column([row.get(key) for row in rows]) for key in columns})


def _row(entry: Entry) -> dict[str, Any]:
    run, said = entry.run, notes.read(entry.run.path)
    first = {
        "id": entry.id,
        "name": said.name,
        "state": entry.state,
        "step": entry.step,
        "group": entry.group,
        "created": time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(entry.created)),
        "tags": ",".join(said.tags),
        "note": said.note,
        "archived": said.archived,
    }
    settings = {key: _cell(value) for key, value in settings_of(run).items()}
    return {**first, **settings, **last_scores(run)}


def _cell(value: Any) -> Any:
    """A setting as one cell: lists and mappings as JSON, an address without its secret."""
    if isinstance(value, list | tuple | dict):
        return json.dumps(value)
    return masked(value) if isinstance(value, str) else value


def _column(values: Sequence[Any]) -> Any:
    """The values as one kind that leaves room for none; of several kinds, as text."""
    from pandas import array

    there = [value for value in values if value is not None]
    kinds = {bool if isinstance(v, bool) else type(v) for v in there}
    for kind, dtype in ((bool, "boolean"), (int, "Int64")):
        if kinds == {kind}:
            return array(list(values), dtype=dtype)
    if kinds and kinds <= {int, float}:
        return array([float("nan") if v is None else float(v) for v in values], dtype="float64")
    return array([None if value is None else str(value) for value in values], dtype="string")


def scores(runs: Iterable[RunDir]) -> "DataFrame":
    """One row a run, task, metric and optimizer step; `value` is the mean over `n` problems or
    episodes. Raises DamagedError."""
    from pandas import DataFrame

    rows = [
        (*_who(run), task, metric, step, score.value, score.n)
        for run in runs
        for (task, metric), steps in run.scores().items()
        for step, score in sorted(steps.items())
    ]
    return DataFrame(rows, columns=list(SCORE_COLUMNS))


def series(runs: Sequence[RunDir], metrics: Sequence[str] | None = None) -> "DataFrame":
    """One row a run, logged metric and optimizer step, of all metrics or of these.

    Raises LabError for a metric that no run has, DamagedError where the events are damaged.
    """
    from pandas import DataFrame

    logged = [(run, run.series()) for run in runs]
    known = dict.fromkeys(name for _, found in logged for name in found)
    for name in metrics or ():
        if name not in known:
            raise unknown("metric", name, known)
    rows = [
        (*_who(run), metric, step, value)
        for run, found in logged
        for metric, steps in found.items()
        if metrics is None or metric in metrics
        for step, value in sorted(steps.items())
    ]
    return DataFrame(rows, columns=list(SERIES_COLUMNS))


def over_tasks(found: Iterable[Aggregate]) -> "DataFrame":
    """One row a metric and arm, over all tasks at once; what there is not is nan."""
    from pandas import DataFrame

    rows = []
    for one in found:
        row: dict[str, Any] = {"metric": one.metric, "arm": one.arm}
        row |= {"num_tasks": len(one.tasks), "num_seeds": one.num_seeds}
        values = {"mean": one.mean, "iqm": one.iqm, "better_than_baseline": one.better}
        for name, value in values.items():
            ends = (value.mean, value.low, value.high) if value else (math.nan,) * 3
            row |= dict(zip((name, f"{name}_low", f"{name}_high"), ends, strict=True))
        rows.append(row)
    return DataFrame(rows, columns=list(TASK_COLUMNS))


def _who(run: RunDir) -> tuple[str, str, str, int]:
    experiment = run.experiment()
    method = experiment.choices.get("method", "")
    return run.id, experiment.plugin, method, experiment.run.seed


def refuse_format(path: Path) -> None:
    """Raise LabError for a file of another ending than those that can be written."""
    if path.suffix not in FORMATS:
        raise LabError(f"--out {path}: its name ends in {' or '.join(FORMATS)}")


def write(frame: "DataFrame", path: Path) -> None:
    """Write the frame by the ending of the path. Raises LabError where it cannot be written."""
    draft = path.with_name(f".{path.name}.draft")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".csv":
            frame.to_csv(draft, index=False, na_rep="nan" if "value" in frame.columns else "")
        else:
            frame.to_parquet(draft, index=False)
        draft.replace(path)
    except OSError as error:
        raise LabError(f"--out {path}: {reason(error)}; choose another place") from error
    finally:
        with suppress(OSError):
            draft.unlink()

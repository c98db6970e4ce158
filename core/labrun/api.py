"""The lab from Python, for notebooks and scripts: `labrun.run`, `labrun.runs`, `labrun.compare`.

Runs lie where the command `lab` puts them, in LABRUN_HOME or ./runs, and are the same runs. What is
wrong raises `labrun.LabError` with the line that the command would print.
"""

import html
import io
import sys
import tempfile
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from labrun.errors import LabError
from labrun.runs.run_dir import RunDir, home

if TYPE_CHECKING:
    from pandas import DataFrame
    from rich.console import Console

    from labrun.results.compare import Arm, Table
    from labrun.results.comparison import Comparison as Compared

__all__ = ["Comparison", "Picture", "Runs", "compare", "run", "runs"]

_composing = threading.Lock()
"""Hydra composes one configuration at a time."""


@dataclass(frozen=True)
class Runs(Sequence[RunDir]):
    """Runs of the lab, oldest first; their files are read when they are asked for.

    An item is a `RunDir` with `id`, `path`, `status()`, `experiment()`; a slice is `Runs` again.
    """

    items: tuple[RunDir, ...]

    def __len__(self) -> int:
        return len(self.items)

    @overload
    def __getitem__(self, index: int) -> RunDir: ...
    @overload
    def __getitem__(self, index: slice) -> "Runs": ...
    def __getitem__(self, index: int | slice) -> "RunDir | Runs":
        return Runs(self.items[index]) if isinstance(index, slice) else self.items[index]

    def scores(self) -> "DataFrame":
        """A row a run, task, metric and optimizer step.

        Columns: run (its id), plugin, method, seed, task, metric, step (0: before training), value
        (the mean over n problems or episodes, in the metric's unit), n. Raises LabError where a
        run's events are damaged.
        """
        from labrun.results import frames

        return frames.scores(self.items)

    def series(self, metrics: Iterable[str] | None = None) -> "DataFrame":
        """A row a run, logged metric and optimizer step, of all metrics or of these.

        Columns: run, plugin, method, seed, metric, step, value. docs/metrics.md has the units.
        Raises LabError for a metric that no run has, or where a run's events are damaged.
        """
        from labrun.results import frames

        if isinstance(metrics, str):
            raise LabError(f"series({metrics!r}): write a list of metrics, [{metrics!r}]")
        return frames.series(self.items, None if metrics is None else list(metrics))

    def to_frame(self) -> "DataFrame":
        """A row a run: state and notes, every setting by its full key (`trainer.max_steps`), and
        the scores of the last step as TASK/METRIC. Raises LabError where a run is damaged."""
        from labrun.results import frames
        from labrun.runs import run_index

        return frames.runs(run_index.of(self.items))

    def __repr__(self) -> str:
        return "\n".join([f"{len(self)} runs", *(f"  {one.id}" for one in self.items)])

    def _repr_html_(self) -> str:
        from labrun.runs import run_index

        rows = [
            (entry.id, entry.notes.name, entry.state, str(entry.step), entry.group or "")
            for entry in run_index.of(self.items)
        ]
        return _html_table(("run", "name", "state", "step", "group"), rows)


@dataclass(frozen=True)
class Picture:
    """A figure that shows itself in a notebook."""

    png: bytes = field(repr=False)

    def save(self, path: str | Path) -> Path:
        """Write it as PNG; returns the path.

        Raises LabError for another ending, or where the file cannot be written.
        """
        path = Path(path)
        if path.suffix.lower() != ".png":
            raise LabError(
                f"{path}: a picture is a PNG; `lab compare --figure` also draws SVG and PDF"
            )
        try:
            path.write_bytes(self.png)
        except OSError as error:
            raise LabError(f"cannot write {path}: {error.strerror}") from error
        return path

    def _repr_png_(self) -> bytes:
        return self.png


@dataclass(frozen=True)
class Comparison:
    """Runs compared as `lab compare` does it: scores of the last step, one column an arm.

    An arm is the runs that differ in their seed alone.
    """

    found: "Compared"
    """What the command prints of these runs."""

    @property
    def arms(self) -> Sequence["Arm"]:
        return self.found.arms

    @property
    def baseline(self) -> str | None:
        return self.found.baseline

    @property
    def table(self) -> "Table":
        """Rows (task, metric) -> arm -> mean and interval."""
        return self.found.table

    @property
    def left_out(self) -> dict[str, str]:
        """Run id -> why it is in no arm: not done, damaged, or repeated by a newer run."""
        return self.found.left_out

    def to_frame(self) -> "DataFrame":
        """A row a task, metric and arm: mean over seeds, the interval, the number of seeds.

        The columns are those of scores.csv, which `lab compare` writes.
        """
        from pandas import read_csv

        return read_csv(io.StringIO(self.table.to_csv()))

    def differences(self) -> "DataFrame":
        """A row a task, metric and arm other than the baseline: the difference, paired by seed, and
        the p of its paired tests; the columns of paired.csv.

        Raises LabError where no baseline was named.
        """
        from pandas import read_csv

        from labrun.results import paired

        if self.baseline is None:
            raise LabError("no baseline; labrun.compare(..., baseline='grpo') names one")
        return read_csv(io.StringIO(paired.to_csv(self.found.against, self.baseline)))

    def over_tasks(self) -> "DataFrame":
        """A row a metric and arm, over all tasks at once; empty where there is one task.

        Columns: metric, arm, num_tasks, num_seeds, and mean, iqm, better_than_baseline, each with
        _low and _high (docs/results/statistics.md).
        """
        from labrun.results import frames

        return frames.over_tasks(self.found.over_tasks)

    def curves(self, *metrics: str, smooth: int = 1) -> Picture:
        """One panel a metric: mean over seeds and 95% interval over optimizer steps.

        A metric is a logged series (`reward`), of which `smooth` steps are averaged, or a score
        over steps (`in_domain/accuracy`); none: the plugins' headline metrics. Raises LabError for
        a metric that no run has, or fewer than one step.
        """
        from labrun.results.figures import curves, style
        from labrun.results.points import check_metrics

        if smooth < 1:
            raise LabError(f"smooth={smooth}: 1 or more")
        drawn = list(metrics) or _headline(self.found.runs)
        check_metrics(drawn, self.found.runs)
        with tempfile.TemporaryDirectory() as folder:
            figure = curves.draw(self.arms, drawn, smooth=smooth)
            return Picture(style.save(figure, Path(folder) / "curves.png").read_bytes())

    def __repr__(self) -> str:
        return self.to_frame().to_string(index=False)

    def _repr_html_(self) -> str:
        from labrun.results.sheet import interval_notes, seeds_note

        columns = self.table.columns
        rows = [
            (task, metric, *(str(cells[column]) if column in cells else "-" for column in columns))
            for (task, metric), cells in self.table.rows.items()
        ]
        notes = [seeds_note(self.table), *interval_notes(self.table)]
        table = _html_table(("task", "metric", *columns), rows)
        return f"{table}<p>{html.escape('; '.join(notes))}</p>"


def run(
    overrides: Sequence[str],
    *,
    sweep: bool = False,
    parent: RunDir | str | None = None,
    quiet: bool = False,
) -> Runs:
    """The runs that the words describe, after they have ended: `lab run` from Python.

    `overrides` are the words of the command: `["plugin=rlrt", "seed=1"]`. `sweep`: commas make a
    run for every combination, as with `-m`. `parent`: a run or its name; the new ones go on from
    its last good checkpoint with its words, as with `--from`. `quiet`: no lines of progress.

    In the main thread the interrupt key asks the runs for a checkpoint and ends the call; another
    thread cannot be interrupted, `lab cancel` ends its runs.

    With `launcher=slurm` or `ray` the runs are submitted, and the call returns at once.

    Raises LabError before anything starts for a word that is wrong, and afterwards where a run has
    not ended as done; `labrun.runs()` has what became of it.
    """
    from labrun.config import experiments
    from labrun.launch import session, submitting
    from labrun.runs import run_index

    if isinstance(overrides, str):
        raise LabError(f"run({overrides!r}): write a list of words, [{overrides!r}]")
    words = list(overrides)
    if isinstance(overrides, Mapping) or not all(isinstance(word, str) for word in words):
        raise LabError(f"run({overrides!r}): write each word as a text: ['plugin=rlrt', 'seed=1']")
    if not sweep and experiments.is_sweep(words):
        raise LabError("a value with commas is a sweep: say sweep=True (or quote it: key='a,b')")
    with _composing:
        if parent is None:
            planned = session.plan(words, sweep=sweep)
            plans = session.preflight(planned)
        else:
            found = run_index.find(parent, home()) if isinstance(parent, str) else parent
            planned, plans = session.plan_from(found, words, sweep=sweep)
        session.refuse_missing(plans)
        session.say_unused(planned, plans)
    made = session.launch(planned, home(), lambda: _console(quiet=quiet))
    if not submitting.outlives(planned[0].run, detach=False):
        _refuse_failed(made)
    return Runs(tuple(made))


def runs(
    filter: str = "",  # noqa: A002
    *,
    group: str | None = None,
    sort: str = "",
    archived: bool = False,
) -> Runs:
    """The runs for which every word of the filter holds: `labrun.runs("method=rlrt seed=0,1")`.

    `group`: only of this group. `sort`: by this key, `-key` from the greatest down. `archived`:
    archived runs, too. docs/runs.md has the words and keys. A run whose file cannot be read for the
    filter is named on standard error and left out.

    Raises LabError for an unknown group or key, or a filter that cannot be read.
    """
    from labrun.runs import filters, run_index

    found = run_index.entries(home())
    found = run_index.in_group(group, found) if group is not None else found
    shown = [entry for entry in found if archived or not entry.notes.archived]
    left = filters.select(shown, filter, sort)
    for run_id, fault in left.unasked.items():
        print(f"lab: left out {run_id}: {fault}", file=sys.stderr)
    return Runs(tuple(entry.run for entry in left.entries))


def compare(
    compared: Iterable[RunDir | str] | RunDir | str | None = None,
    *,
    group: str | None = None,
    baseline: str | None = None,
) -> Comparison:
    """A table of the scores of runs: `labrun.compare(group="mine", baseline="grpo")`.

    `compared`: a run or several, or their ids and names; else those of the group, else of the
    newest run's group. Runs that are not done are left out. `baseline`: the arm that
    `differences()` compares the others with.

    Raises LabError where no run is done, an arm holds a seed twice within a group, or no arm
    shares a seed with the baseline.
    """
    from labrun.results.comparison import comparison_of
    from labrun.runs import run_index

    if compared is None:
        found = run_index.select([], group, home())
    elif group is not None:
        raise LabError("compare(): name runs or a group, not both")
    else:
        words = [compared] if isinstance(compared, str | RunDir) else compared
        found = [run_index.find(w, home()) if isinstance(w, str) else w for w in words]
    return Comparison(comparison_of(found, baseline=baseline))


def _refuse_failed(made: Iterable[RunDir]) -> None:
    """Raise LabError for the first run that is not done."""
    states = [(one, one.status()) for one in made]
    failed = [(one, status) for one, status in states if status.state != "done"]
    for one, status in failed[:1]:
        more = f"; so did {len(failed) - 1} more" if failed[1:] else ""
        text = f"run {one.id} ended as {status.state}: {status.message}{more}"
        raise LabError(f"{text}; see {one.path / 'stdio.log'}")


def _console(*, quiet: bool) -> "Console":
    """Plain lines, also in a notebook, whose widgets a thread cannot draw into."""
    from rich.console import Console

    return Console(
        quiet=quiet, highlight=False, markup=False, force_jupyter=False, force_terminal=False
    )


def _headline(runs: Sequence[RunDir]) -> list[str]:
    """The plugins' headline metrics that the runs have."""
    from labrun.plugins import discovery
    from labrun.results.points import metric_names

    known = metric_names(runs)
    owners = dict.fromkeys(run.experiment().plugin for run in runs)
    names = [n for o in owners if o in discovery.installed() for n in discovery.load(o).headline]
    return [name for name in dict.fromkeys(names) if name in known] or known[:1]


def _html_table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    def line(cells: Sequence[Any], tag: str) -> str:
        inner = "".join(f"<{tag}>{html.escape(str(cell))}</{tag}>" for cell in cells)
        return f"<tr>{inner}</tr>"

    body = "".join(line(row, "td") for row in rows)
    return f"<table><thead>{line(head, 'th')}</thead><tbody>{body}</tbody></table>"

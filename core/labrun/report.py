"""What the commands print about plans, runs and comparisons."""

import math
import os
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import typer
from rich.console import Console
from rich.table import Column
from rich.table import Table as RichTable

from labrun import compare as comparison
from labrun import paired, plugins
from labrun.config import flat, to_plain
from labrun.errors import LabError
from labrun.run_config import Experiment
from labrun.run_dir import RunDir, config_hash, group_of

LOG_LINES = 12
WIDEST = 10_000


def print_plan(
    experiments: Sequence[Experiment],
    facts: Sequence[Mapping[str, Mapping[str, object]]],
    console: Console,
) -> None:
    """What `lab run` would do: every setting of the first run, and what differs in the others."""
    first = experiments[0]
    console.print(f"plan: {len(experiments)} run(s) of plugin {first.plugin}; nothing was started")
    table = RichTable("section", "key", "value", box=None, pad_edge=False)
    for name, value in sorted(first.choices.items()):
        table.add_row("preset", name, value)
    for name, value in flat(to_plain(first.run)):
        table.add_row("run", name, str(value))
    for section, values in first.settings.items():
        table.add_row(section, "component", first.components[section])
        for name, value in flat(values):
            table.add_row(section, name, str(value))
    for section, known in facts[0].items():
        for name, value in known.items():
            if name != "missing":
                table.add_row(f"{section} facts", name, str(value))
    console.print(table)
    for experiment in experiments:
        words = " ".join(experiment.overrides)
        console.print(f"  {config_hash(experiment)}  {words}", soft_wrap=True)


def print_missing(sentences: Sequence[str], console: Console) -> None:
    """The end of a dry run: what a run on this machine would be refused for."""
    if sentences:
        heading = "missing on this machine; a run here is refused until it is there:"
        console.print(heading, style="yellow")
    for sentence in sentences:
        console.print(f"  - {sentence}", style="yellow", markup=False, soft_wrap=True)


def finish(runs: Sequence[RunDir], home: Path, console: Console) -> None:
    """The end of `lab run`: failures first, then the table, the figure and the next command.

    Raises typer.Exit with the first failed run's code where any run is not done.
    """
    failed = [run for run in runs if run.status().state != "done"]
    for run in failed:
        _print_failure(run, console)
    if len(failed) < len(runs):
        compare(runs, home, console)
        group = runs[0].experiment().run.group
        console.print(f"runs     {home} (group {group})", soft_wrap=True)
        console.print(f"again    {_lab()} compare --group {group}", soft_wrap=True)
        console.print(f"ui       {_lab()} ui   (MLflow, every curve of every run)", soft_wrap=True)
    if failed:
        raise typer.Exit(failed[0].status().exit_code or 1)


def _lab() -> str:
    """How the user starts `lab` here: by its name, or by its path where it is not on PATH."""
    found = shutil.which("lab")
    me = Path(sys.argv[0])
    if me.name != "lab" or (found and Path(found).samefile(me)):
        return "lab"
    return os.path.relpath(me)


def _print_failure(run: RunDir, console: Console) -> None:
    status = run.status()
    text = f"{run.id}: {status.state} (exit {status.exit_code}) {status.message}"
    console.print(text, style="red", soft_wrap=True)
    log = run.path / "stdio.log"
    if status.state in ("failed", "hung", "killed") and log.exists():
        tail = log.read_text(errors="replace").splitlines()[-LOG_LINES:]
        console.print("\n".join(f"  | {line}" for line in tail), markup=False, soft_wrap=True)
    if status.state == "diverged":
        console.print(f"  its last good checkpoint is kept in {run.checkpoints}", soft_wrap=True)
    elif status.state != "refused":
        console.print(
            f"  {_lab()} resume {run.id}   goes on from its last checkpoint", soft_wrap=True
        )


def compare(
    runs: Sequence[RunDir],
    home: Path,
    console: Console,
    *,
    metrics: Sequence[str] | None = None,
    smooth: int = 5,
    baseline: str | None = None,
    out: Path | None = None,
) -> None:
    """Print the table of scores, and write it as CSV beside a PNG of the curves.

    With a `baseline`, the label of an arm, also the paired differences to it.
    """
    arms = comparison.arms(runs)
    against = paired.differences(arms, baseline) if baseline is not None else []
    done = [run for arm in arms for run in arm.runs]
    comparison.check_metrics(metrics or [], done)
    table = comparison.table(arms)
    _print_table(table, arms, console)
    left = [run for run in runs if run not in done]
    if left:
        console.print(f"left out, not done: {', '.join(run.id for run in left)}", soft_wrap=True)
    folder = out or home / "compare" / runs[0].experiment().run.group
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "scores.csv").write_text(table.to_csv())
    except OSError as error:
        raise LabError(f"cannot write to {folder}: {error.strerror}; choose --out") from error
    console.print(f"table    {folder / 'scores.csv'}", soft_wrap=True)
    if baseline is not None:
        _print_differences(against, baseline, console)
        (folder / "paired.csv").write_text(paired.to_csv(against, baseline))
        console.print(f"paired   {folder / 'paired.csv'}", soft_wrap=True)
    drawn = metrics or _headline(done)
    if drawn:
        figure = comparison.curves(arms, drawn, folder / "curves.png", smooth=smooth)
        console.print(f"curves   {figure}", soft_wrap=True)
    for draw in _figures(done):
        for figure in draw(arms, folder):
            console.print(f"figure   {figure}", soft_wrap=True)


Draw = Callable[[Sequence[comparison.Arm], Path], list[Path]]


def _figures(runs: Sequence[RunDir]) -> list[Draw]:
    """The plugins' own figures of compared runs; none of a plugin that is not installed here."""
    owners = dict.fromkeys(run.experiment().plugin for run in runs)
    here = [name for name in owners if name in plugins.installed()]
    return [plugins.resolve(figure) for name in here for figure in plugins.load(name).figures]


def _headline(runs: Sequence[RunDir]) -> list[str]:
    """The plugins' headline metrics of which there is more than a point."""
    names = dict.fromkeys(n for run in runs for n in plugins.load(run.experiment().plugin).headline)
    return [n for n in names if any(len(comparison.points(run, n)) > 1 for run in runs)]


def _print_table(table: comparison.Table, arms: Sequence[comparison.Arm], console: Console) -> None:
    seeds = sorted({len(arm.runs) for arm in arms})
    wide = _one_column_an_arm(table)
    unbound = console.options.update(width=WIDEST)
    fits = console.measure(wide, options=unbound).maximum <= console.width
    console.print(wide if fits else _one_row_an_arm(table))
    counts = " to ".join(str(n) for n in dict.fromkeys((seeds[0], seeds[-1])))
    console.print(f"mean over {counts} seed(s) ± half the 95% t-interval over seeds")
    if seeds[0] < 5:
        console.print("fewer than 5 seeds: read a difference between methods as a hint, no more")


def _one_column_an_arm(table: comparison.Table) -> RichTable:
    shown = RichTable("task", "metric", box=None, pad_edge=False)
    for column in table.columns:
        shown.add_column(column, justify="right")
    for (task, metric), cells in table.rows.items():
        shown.add_row(task, metric, *(str(cells.get(column, "-")) for column in table.columns))
    return shown


def _one_row_an_arm(table: comparison.Table) -> RichTable:
    """For labels that do not stand beside each other."""
    shown = RichTable("task", "metric", "arm", Column("value", justify="right"), box=None)
    for (task, metric), cells in table.rows.items():
        for arm, cell in cells.items():
            shown.add_row(task, metric, arm, str(cell))
    return shown


def _print_differences(found: Sequence[paired.Difference], baseline: str, console: Console) -> None:
    console.print(f"\nless {baseline}, paired by seed")
    shown = RichTable("task", "metric", "arm", box=None, pad_edge=False)
    for name in ("difference", "p", "p (Holm)"):
        shown.add_column(name, justify="right")
    for d in found:
        ps = ("-" if math.isnan(p) else f"{p:.3f}" for p in (d.p, d.p_holm))
        shown.add_row(d.task, d.metric, d.arm, str(d.difference), *ps)
    console.print(shown)
    least = min(d.difference.n for d in found)
    console.print(
        "difference ± half its 95% t-interval; p of the paired t-test (- where all differences are "
        "one number, without spread), Holm-corrected over the "
        f"arms and tasks of a metric; with {least} seeds an exact sign-flip test could not go "
        f"below {paired.smallest_permutation_p(least):.3g}",
        soft_wrap=True,
    )


def print_runs(runs: Sequence[RunDir], console: Console) -> None:
    if not runs:
        console.print("no runs yet; `lab run plugin=...` makes one")
        return
    name = Column("run", min_width=max(len(run.id) for run in runs))
    table = RichTable(name, "state", "step", "group", "created", box=None, pad_edge=False)
    for run in runs:
        status = run.status()
        created = time.strftime("%Y-%m-%d %H:%M", time.localtime(run.created()))
        group = group_of(run)
        state = status.state if group is not None else "unreadable"
        table.add_row(run.id, state, str(status.step), group or "", created)
    console.print(table)


def print_run(run: RunDir, console: Console) -> None:
    status, experiment = run.status(), run.experiment()
    console.print(f"{run.id}  {status.state}  {status.message}".rstrip(), soft_wrap=True)
    console.print(f"lab run {' '.join(experiment.overrides)}", soft_wrap=True)
    for (task, metric), steps in run.scores().items():
        values = "  ".join(f"step {step}: {steps[step].value:.3f}" for step in sorted(steps))
        console.print(f"  {task}/{metric}  {values}", soft_wrap=True)
    for name, values in run.series().items():
        console.print(f"  {name}  last {values[max(values)]:.4g} at step {max(values)}")
    notes = [event["message"] for event in run.events() if event["kind"] == "note"]
    for note in dict.fromkeys(notes):
        console.print(f"  note: {note}", soft_wrap=True)
    kept = [path.name for path in sorted(run.checkpoints.glob("[0-9]*"))]
    console.print(f"  checkpoints: {', '.join(kept) or 'none'}")
    files = [str(p.relative_to(run.path)) for p in sorted(run.artifacts.rglob("*")) if p.is_file()]
    console.print(f"  files in {run.path}: {', '.join(files) or 'none'}", soft_wrap=True)

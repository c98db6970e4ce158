"""What the commands print and save of compared runs: table, differences, curves, figures."""

import hashlib
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Column
from rich.table import Table as RichTable

from labrun.errors import LabError
from labrun.plugins import discovery as plugins
from labrun.results import compare as comparison
from labrun.results import lineage, paired
from labrun.results.differing import settings_of, unlabelled
from labrun.results.store import reason_of
from labrun.runs import run_dir, run_index
from labrun.runs.record import records
from labrun.runs.run_dir import RunDir
from labrun.system.paths import component

WIDEST = 10_000
MOST_SETTINGS = 20
"""How many differing settings are printed."""
MOST_ARMS = 4
"""Arms that are named for one value of a setting."""


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
    """Print the table of scores and the settings that differ beside the method, and write the table
    as CSV beside a PNG of the curves.

    With a `baseline`, the label of an arm, also the paired differences to it. A whole group is
    written to its own folder, and picked runs to another.
    """
    runs = records(runs)
    arms = comparison.arms(runs)
    if baseline is not None:
        baseline = paired.baseline_of(arms, baseline)
    against = paired.differences(arms, baseline) if baseline is not None else []
    done = [run for arm in arms for run in arm.runs]
    comparison.check_metrics(metrics or [], done)
    table = comparison.table(arms)
    _print_table(table, arms, console)
    _print_settings(arms, console)
    _print_not_installed(done, console)
    _, damaged = comparison.whole_runs(run for run in runs if run not in done)
    for name, fault in damaged.items():
        console.print(f"left out, damaged: {name}: {fault}", style="yellow", soft_wrap=True)
    for run_id, line in lineage.lines(done).items():
        console.print(f"{run_id}: {line}", soft_wrap=True)
    left = [run for run in runs if run not in done and run.id not in damaged]
    if left:
        console.print(f"left out, not done: {', '.join(run.id for run in left)}", soft_wrap=True)
    folder = out or home / "compare" / _folder(runs, home)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "scores.csv").write_text(table.to_csv())
    except OSError as error:
        raise LabError(f"cannot write to {folder}: {error.strerror}; choose --out") from error
    console.print(f"table    {folder / 'scores.csv'}", soft_wrap=True)
    if baseline is not None:
        print_differences(against, baseline, console)
        (folder / "paired.csv").write_text(paired.to_csv(against, baseline))
        console.print(f"paired   {folder / 'paired.csv'}", soft_wrap=True)
    drawn = metrics or _headline(done, console)
    if drawn:
        figure = comparison.curves(arms, drawn, folder / "curves.png", smooth=smooth)
        console.print(f"curves   {figure}", soft_wrap=True)
    _draw_figures(arms, folder, console)


def _folder(runs: Sequence[RunDir], home: Path) -> str:
    """The group's name, where these are all its runs, else a name that no group can have."""
    groups = {run_dir.group_of(run) for run in runs}
    ids = sorted(run.id for run in runs)
    for group in groups if len(groups) == 1 else ():
        if group is not None and ids == sorted(run.id for run in run_index.members(group, home)):
            return component(group)
    return f"picked@{hashlib.sha256(' '.join(ids).encode()).hexdigest()[:8]}"


Draw = Callable[[Sequence[comparison.Arm], Path], list[Path]]


def _draw_figures(arms: Sequence[comparison.Arm], folder: Path, console: Console) -> None:
    """The plugins' own figures of compared runs; none of a plugin that is not installed here."""
    for plugin in _owners(run for arm in arms for run in arm.runs):
        for name in _contained(lambda p=plugin: list(plugins.load(p).figures), plugin, console):
            drawn = _contained(lambda n=name: _drawn(n, arms, folder), f"{plugin}: {name}", console)
            for figure in drawn:
                console.print(f"figure   {figure}", soft_wrap=True)


def _drawn(name: str, arms: Sequence[comparison.Arm], folder: Path) -> list[Path]:
    draw: Draw = plugins.resolve(name)
    return list(draw(arms, folder) or ())


def _owners(runs: Iterable[RunDir]) -> list[str]:
    """The plugins of these runs that are installed here."""
    owners = dict.fromkeys(run.experiment().plugin for run in runs)
    return [name for name in owners if name in plugins.installed()]


def _print_not_installed(runs: Iterable[RunDir], console: Console) -> None:
    """Say whose figures and headline are left out."""
    for name in dict.fromkeys(run.experiment().plugin for run in runs):
        if name not in plugins.installed():
            console.print(
                f"plugin {name} is not installed here: its figures and its choice of curves are "
                "left out; --metric draws others",
                soft_wrap=True,
            )


def _headline(runs: Sequence[RunDir], console: Console) -> list[str]:
    """The plugins' headline metrics that have more than one point."""
    names: dict[str, None] = {}
    for plugin in _owners(runs):
        where = f"{plugin}: headline"
        names |= dict.fromkeys(
            _contained(lambda p=plugin: list(map(str, plugins.load(p).headline)), where, console)
        )
    return [n for n in names if any(len(comparison.points(run, n)) > 1 for run in runs)]


def _contained(call: Callable[[], list[Any]], hook: str, console: Console) -> list[Any]:
    """What a plugin's hook returns; a hook that fails gives nothing, and a line names it."""
    try:
        return call()
    except (Exception, SystemExit) as error:  # the runs are done, whatever a plugin's hook does
        kind = "" if isinstance(error, LabError) else f"{type(error).__name__}: "
        text = f"lab: plugin {hook} failed: {kind}{reason_of(error)}"
        console.print(text, style="yellow", soft_wrap=True)
        return []


def _print_settings(arms: Sequence[comparison.Arm], console: Console) -> None:
    """The settings and seeds that differ between the arms and are not in their labels."""
    settings = {arm.label: settings_of(arm.runs[0]) | _seeds(arm) for arm in arms}
    differing = unlabelled(settings)
    if not differing:
        return
    console.print("the arms differ beside their labels in:")
    for key, by_value in list(differing.items())[:MOST_SETTINGS]:
        values = (f"{value} ({_some(labels)})" for value, labels in by_value.items())
        console.print(f"  {key}: {', '.join(values)}", soft_wrap=True)
    if len(differing) > MOST_SETTINGS:
        console.print(f"  and {len(differing) - MOST_SETTINGS} more; `lab runs show` has them")


def _seeds(arm: comparison.Arm) -> dict[str, object]:
    seeds = sorted(run.experiment().run.seed for run in arm.runs)
    known = arm.runs[0].data_fingerprint()
    data = {"data fingerprint": known[:12]} if known else {}
    return {"seeds": ",".join(map(str, seeds)), **data}


def _some(labels: Sequence[str]) -> str:
    shown = ", ".join(labels[:MOST_ARMS])
    return shown if len(labels) <= MOST_ARMS else f"{shown} and {len(labels) - MOST_ARMS} more"


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
    """The table for labels that are too wide for one column an arm."""
    shown = RichTable("task", "metric", "arm", Column("value", justify="right"), box=None)
    for (task, metric), cells in table.rows.items():
        for arm, cell in cells.items():
            shown.add_row(task, metric, arm, str(cell))
    return shown


def print_differences(found: Sequence[paired.Difference], baseline: str, console: Console) -> None:
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

"""A comparison as `lab compare` gives it: printed with files beside it, or in one format."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from labrun.errors import LabError, unknown
from labrun.results import costs, formats, lineage, paired, plugin_figures, printing
from labrun.results.cells import AUTO, INTERVALS
from labrun.results.comparison import Comparison, comparison_of
from labrun.results.figures import curves, pareto, profiles, style
from labrun.results.marl_eval import to_marl_eval
from labrun.results.points import check_metrics
from labrun.results.printing import print_differences
from labrun.runs import run_dir, run_index
from labrun.runs.record import records
from labrun.runs.run_dir import RunDir
from labrun.system.paths import component

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Asked", "Drawing", "check_choices", "compare", "print_differences", "show"]

TEXT = "text"
FORMATS = (TEXT, "md", "latex", "csv", "json", "marl-eval")
PROFILE = "profile"
PLOTS = ("curves", "pareto", PROFILE)


@dataclass(frozen=True)
class Drawing:
    """What is drawn and where. Without `paths`: a PNG in the comparison's folder."""

    paths: Sequence[Path] = ()
    plot: str = "curves"
    metrics: Sequence[str] = ()
    """Series and scores, a panel each; empty: the plugins' headline."""
    smooth: int = 5
    """Steps of a series that are averaged."""
    cost: str | None = None
    """What the score stands over; None: steps of curves, seconds of a Pareto front."""
    width: str = "page"


@dataclass(frozen=True)
class Asked:
    """Which rows and interval the table has, and what is tested."""

    baseline: str | None = None
    interval: str = AUTO
    scores: Sequence[str] = ()
    lower: Sequence[str] = ()
    drawing: Drawing = field(default_factory=Drawing)
    has_start: bool = True
    """With the columns of the scores before training."""


def check_choices(*, kind: str, interval: str, plot: str, width: str) -> None:
    """Raise LabError for a word that is none of an option's."""
    for option, got, allowed in (
        ("--format", kind, FORMATS),
        ("--interval", interval, INTERVALS),
        ("--plot", plot, PLOTS),
        ("--width", width, tuple(style.WIDTHS)),
    ):
        if got not in allowed:
            raise unknown(option, got, allowed)


def compare(
    runs: Sequence[RunDir],
    home: Path,
    console: Console,
    *,
    metrics: Sequence[str] | None = None,
    smooth: int = 5,
    baseline: str | None = None,
    out: Path | None = None,
    asked: Asked | None = None,
) -> None:
    """Print the table of scores and the settings that differ beside the method, and write the table
    as CSV beside a PNG of the curves.

    With a `baseline`, the label of an arm, also the paired differences to it. A whole group is
    written to its own folder, and picked runs to another. `asked` says all of this and more.
    """
    asked = asked or Asked(baseline, drawing=Drawing(metrics=metrics or (), smooth=smooth))
    runs = records(runs)
    found = _comparison(runs, asked)
    printing.print_table(found, console)
    printing.print_over_tasks(found.over_tasks, found.baseline, console)
    printing.print_warnings(found, console)
    plugin_figures.print_not_installed(found.runs, console)
    for run_id, line in lineage.lines(found.runs).items():
        console.print(f"{run_id}: {line}", soft_wrap=True)
    folder = out or home / "compare" / folder_name(runs, home)
    _write(folder / "scores.csv", found.table.to_csv())
    console.print(f"table    {folder / 'scores.csv'}", soft_wrap=True)
    if found.baseline is not None:
        printing.print_tests(found, console)
        _write(folder / "paired.csv", paired.to_csv(found.against, found.baseline))
        console.print(f"paired   {folder / 'paired.csv'}", soft_wrap=True)
    _draw(found, asked, folder, console)
    plugin_figures.draw_figures(found.arms, folder, console)


def show(runs: Sequence[RunDir], kind: str, console: Console, *, asked: Asked) -> str:
    """The comparison in one of FORMATS but text; figures only where `asked` names their paths.

    What the format has no place for is printed to `console`.
    """
    found = _comparison(records(runs), asked)
    if asked.drawing.paths:
        _draw(found, asked, Path(), console)
    printing.print_warnings(found, console)
    if kind == "marl-eval":
        text, faults = to_marl_eval(found.arms)
        for fault in faults:
            console.print(fault, style="yellow", soft_wrap=True)
        return text
    if kind == "csv":
        return found.table.to_csv()
    if kind == "json":
        return formats.to_json(found)
    return (formats.to_latex if kind == "latex" else formats.to_markdown)(found.sheet)


def _comparison(runs: Sequence[RunDir], asked: Asked) -> Comparison:
    """The comparison; what cannot be drawn is refused first."""
    found = comparison_of(
        runs,
        baseline=asked.baseline,
        interval=asked.interval,
        scores=asked.scores,
        lower=asked.lower,
        has_start=asked.has_start,
    )
    drawing = asked.drawing
    if drawing.plot == PROFILE:
        _check_profile(drawing, found)
        return found
    check_metrics(drawing.metrics, found.runs)
    if drawing.cost:
        costs.check(drawing.cost, found.runs)
    for path in drawing.paths:
        style.check_path(path)
    return found


def _check_profile(drawing: Drawing, found: Comparison) -> None:
    """Raise LabError for what a profile does not have, and where no rate is on two tasks."""
    if drawing.cost:
        raise LabError("--plot profile stands over scores; leave --cost out")
    known = [grid.metric for grid in found.rates]
    if not known:
        raise LabError(
            "--plot profile needs a rate, such as accuracy or win_rate, on two tasks or more that "
            "every run has; `--plot curves` draws what there is"
        )
    for name in drawing.metrics:
        if name not in known:
            raise unknown("rate on several tasks", name, known)


def _draw(found: Comparison, asked: Asked, folder: Path, console: Console) -> None:
    drawing = asked.drawing
    if found.rates and (drawing.plot == PROFILE or not drawing.paths):
        _draw_profile(found, drawing, folder, console)
    if drawing.plot == PROFILE:
        return
    least = 2 if drawing.plot == "curves" else 1
    metrics = drawing.metrics or plugin_figures.headline(found.runs, console, least=least)
    if not metrics:
        return
    style.load()
    if drawing.plot == "pareto":
        cost = drawing.cost or costs.SECONDS
        figure = pareto.draw(found.arms, metrics, lower=found.lower, cost=cost, width=drawing.width)
    else:
        cost = drawing.cost or costs.STEPS
        figure = curves.draw(
            found.arms, metrics, smooth=drawing.smooth, cost=cost, width=drawing.width
        )
    _save(figure, drawing.paths or [folder / f"{drawing.plot}.png"], drawing.plot, console)


def _draw_profile(found: Comparison, drawing: Drawing, folder: Path, console: Console) -> None:
    """The performance profile of the rates, or of those among `drawing.metrics`."""
    style.load()
    named = drawing.metrics if drawing.plot == PROFILE else ()
    grids = [grid for grid in found.rates if not named or grid.metric in named]
    figure = profiles.draw(grids, width=drawing.width)
    _save(figure, drawing.paths or [folder / f"{PROFILE}.png"], PROFILE, console)


def _save(figure: "Figure", paths: Sequence[Path], what: str, console: Console) -> None:
    for path in paths:
        style.save(figure, path)
        console.print(f"{what:<8} {path}", soft_wrap=True)


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    except OSError as error:
        raise LabError(f"cannot write to {path.parent}: {error.strerror}; choose --out") from error


def folder_name(runs: Sequence[RunDir], home: Path) -> str:
    """The group's name, where these are all its runs, else a name that no group can have."""
    groups = {run_dir.group_of(run) for run in runs}
    ids = sorted(run.id for run in runs)
    for group in groups if len(groups) == 1 else ():
        if group is not None and ids == sorted(run.id for run in run_index.members(group, home)):
            return component(group)
    return f"picked@{hashlib.sha256(' '.join(ids).encode()).hexdigest()[:8]}"

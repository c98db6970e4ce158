"""`lab data show`, `convert` and `record`: files of data, through the dataset that reads them."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.table import Table

from labrun.cli import data
from labrun.config.components import build, component_of
from labrun.contract import Component, DataReport
from labrun.errors import LabError, unknown
from labrun.plugins import building, discovery
from labrun.runs.run_dir import RunDir

Action = Literal["shows", "converts"]
RECORDING = ("tasks", "quality", "num_episodes", "noise", "seed", "progress")
"""Named arguments of the function behind `lab data record`."""


def show(path: Path, dataset: str, console: Console) -> None:
    """Print what the files below `path` hold. Raises LabError, after the table, for faults."""
    if not path.exists():
        raise LabError(f"no file or folder {path}")
    report: DataReport = _function("shows", dataset, "path")(path)
    if report.rows:
        console.print(_table(report))
    for note in report.notes:
        console.print(note, soft_wrap=True, markup=False, highlight=False)
    for fault in report.faults:
        console.print(f"fault  {fault}", soft_wrap=True, markup=False, highlight=False)
    if report.faults:
        raise LabError(f"{len(report.faults)} fault(s) in {path}; the other files can be used")


def convert(
    source: Path,
    target: Path,
    *,
    task: str,
    quality: str,
    episode_length: int,
    dataset: str,
    console: Console,
) -> None:
    """Write the data of `source` anew below `target`, and print one line for each file. An
    `episode_length` of 0 is not passed on."""
    if not source.exists():
        raise LabError(f"no file or folder {source}")
    named: dict[str, Any] = {"task": task, "quality": quality}
    if episode_length:
        named["episode_length"] = episode_length
    function = _function("converts", dataset, "source", "target", **named)
    _print_written(function(source, target, **named), target, quality, console)


def record(
    run: RunDir,
    target: Path,
    *,
    tasks: Sequence[str],
    quality: str,
    num_episodes: int,
    noise: float,
    seed: int,
    console: Console,
) -> None:
    """Write episodes that the run's trained model plays below `target`, a line for each file.

    Raises LabError where the run is not done or its dataset records no episodes.
    """
    experiment, state = run.experiment(), run.status().state
    reference = component_of(experiment, "dataset").records
    if not reference:
        name = experiment.components["dataset"]
        raise LabError(f"{run.id}: its dataset {name!r} records no episodes of a trained model")
    if state != "done":
        raise LabError(f"{run.id} is {state}; episodes are recorded of a run that is done")
    function = building.function(
        reference, "run", "trainer", "dataset", "target", **dict.fromkeys(RECORDING, "")
    )
    parts = build(experiment)
    with data.bars(console) as progress:
        lines = function(
            run.path,
            parts.trainer,
            parts.dataset,
            target,
            tasks=tuple(tasks),
            quality=quality,
            num_episodes=num_episodes,
            noise=noise,
            seed=seed,
            progress=progress,
        )
    _print_written(lines, target, quality, console)


def _print_written(lines: Sequence[str], target: Path, quality: str, console: Console) -> None:
    for line in lines:
        console.print(line, soft_wrap=True, markup=False, highlight=False)
    console.print(f"read it with dataset.path={target} quality={quality}", soft_wrap=True)


def _function(action: Action, dataset: str, *arguments: str, **named: str) -> Callable[..., Any]:
    """The function of the dataset that is named, or of the only one there is."""
    offered = {
        f"{info.name}.{component.name}": component
        for info in discovery.usable()
        for component in info.components
        if component.kind == "dataset" and _reference(component, action)
    }
    if not dataset and len(offered) != 1:
        names = ", ".join(offered) or "none"
        raise LabError(f"say --dataset NAME: the datasets that read files are {names}")
    name = dataset or next(iter(offered))
    if name not in offered:
        raise unknown("dataset that reads files", name, offered)
    return building.function(_reference(offered[name], action), *arguments, **named)


def _reference(component: Component, action: Action) -> str:
    return component.shows if action == "shows" else component.converts


def _table(report: DataReport) -> Table:
    columns = dict.fromkeys(name for row in report.rows for name in row)
    table = Table(box=None, pad_edge=False)
    for name in columns:
        table.add_column(name, overflow="fold")
    for row in report.rows:
        table.add_row(*(row.get(name, "") for name in columns))
    return table

"""`lab data show` and `lab data convert`: files of data, through the dataset that reads them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.table import Table

from labrun.contract import Component, DataReport
from labrun.errors import LabError, unknown
from labrun.plugins import building, discovery

Action = Literal["shows", "converts"]


def show(path: Path, dataset: str, console: Console) -> None:
    """Print what the files below `path` hold. Raises LabError, after the table, for faults."""
    if not path.exists():
        raise LabError(f"no file or folder {path}")
    report: DataReport = _function("shows", dataset, "path")(path)
    if report.rows:
        console.print(_table(report))
    for fault in report.faults:
        console.print(f"fault  {fault}", soft_wrap=True, markup=False, highlight=False)
    if report.faults:
        raise LabError(f"{len(report.faults)} fault(s) in {path}; the other files can be used")


def convert(
    source: Path, target: Path, *, task: str, quality: str, dataset: str, console: Console
) -> None:
    """Write the data of `source` anew below `target`, and print one line for each file."""
    if not source.exists():
        raise LabError(f"no file or folder {source}")
    named = {"task": task, "quality": quality}
    function = _function("converts", dataset, "source", "target", **named)
    for line in function(source, target, **named):
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

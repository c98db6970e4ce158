"""`lab data make`: data that are made once, before the runs that read them."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from labrun.config.components import component_of
from labrun.config.experiments import typed
from labrun.config.words import command_line
from labrun.contract import Makeable
from labrun.errors import LabError
from labrun.experiment import Experiment
from labrun.plan import Setup
from labrun.plugins.building import built, config_class, planned


def make(experiments: Sequence[Experiment], console: Console) -> None:
    """Make the data of all experiments, equal ones once, and print where they lie.

    Raises LabError before any work where a dataset has nothing to make or refuses its settings.
    """
    distinct = {_key(experiment): experiment for experiment in experiments}
    datasets = [(experiment, _dataset(experiment)) for experiment in distinct.values()]
    for _, dataset in datasets:
        planned("dataset", dataset, Setup(dataset=dataset))
    for experiment, dataset in datasets:
        console.print(command_line(experiment.overrides), soft_wrap=True)
        with bars(console) as show:
            facts = dataset.make(show)
        for name, value in facts.items():
            console.print(f"  {name}  {value}", soft_wrap=True)


def _key(experiment: Experiment) -> str:
    chosen = [experiment.components["dataset"], experiment.settings["dataset"]]
    return json.dumps(chosen, sort_keys=True)


def _dataset(experiment: Experiment) -> Makeable:
    """The dataset alone: no trainer is imported."""
    component = component_of(experiment, "dataset")
    settings = experiment.settings["dataset"]
    owner = experiment.components["dataset"].partition(".")[0]
    config = typed(config_class(owner, component), settings, section="dataset")
    dataset = built(owner, component, config)
    if not isinstance(dataset, Makeable):
        name = experiment.components["dataset"]
        raise LabError(f"dataset {name!r} has nothing to make; `lab run` loads it as it is")
    return dataset


@contextmanager
def bars(console: Console) -> Iterator[Callable[[str, int, int], None]]:
    """Gives a function (what, done, total) that shows a bar for each thing that is made."""
    with Progress(
        TextColumn("  {task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("eta"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as progress:
        yield _Bars(progress).show


class _Bars:
    """One bar for each thing that is made."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}

    def show(self, what: str, done: int, total: int) -> None:
        if what not in self._tasks:
            self._tasks[what] = self._progress.add_task(what, total=total)
        self._progress.update(self._tasks[what], completed=done, total=total)

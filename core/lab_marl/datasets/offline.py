"""The dataset component `offline`: a suite's episodes, from files or from cheap policies."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
from labrun.errors import LabError, PreemptedError
from labrun.plan import Plan, Setup

from lab_marl import environments
from lab_marl.behaviours.qualities import Quality
from lab_marl.behaviours.tiers import Progress
from lab_marl.datasets import cache, stored, suites
from lab_marl.datasets.config import OfflineDataConfig
from lab_marl.datasets.generated import Recipe
from lab_marl.episodes import checks
from lab_marl.episodes.episodes import Episodes
from lab_marl.episodes.hdf5_files import Part
from lab_marl.episodes.layouts import Layout, check_one_network
from lab_marl.episodes.offline_data import OfflineData, TaskData, end_at_timeouts

if TYPE_CHECKING:
    from labrun.runs.context import RunContext


class OfflineDataset:
    """Episodes of the training tasks; the names of the test tasks go with them."""

    def __init__(self, config: OfflineDataConfig) -> None:
        self.config = config

    @property
    def tasks(self) -> suites.Suite:
        """The tasks trained on and tested on. Raises LabError for an unknown suite."""
        config = self.config
        return suites.tasks(config.suite, train=config.train_tasks, test=config.test_tasks)

    def layouts(self) -> dict[str, Layout]:
        """The layout of every task, training tasks first. Raises LabError for an unknown task."""
        names = dict.fromkeys((*self.tasks.train, *self.tasks.test))
        return {task: environments.layout_of(task) for task in names}

    def plan(self, setup: Setup) -> Plan:
        """Tasks, and where each training task's episodes lie; reads shapes, no episode.

        Raises LabError for unknown suites and tasks, tasks that no one network can serve, a
        simulator that is not installed, and files that are missing or don't fit their task.
        """
        del setup
        layouts, tasks = self.layouts(), self.tasks
        _check_distinct("train_tasks", tasks.train)
        _check_distinct("test_tasks", tasks.test)
        check_one_network(list(layouts.values()))
        sources = {task: self._describe(task, layouts[task]) for task in tasks.train}
        self._check_simulators(layouts)
        unseen = [task for task in tasks.test if task not in tasks.train]
        facts: dict[str, object] = {
            "train": ", ".join(tasks.train),
            "test": ", ".join(tasks.test),
            "unseen": ", ".join(unseen) or "none",
        }
        return Plan(facts | sources)

    def num_episodes(self, task: str) -> int:
        """Episodes of a training task that a run will have; reads shapes, no episode."""
        if self.config.path:
            layout = environments.layout_of(task)
            return len(stored.select(self.config, task, layout).index)
        return self.config.num_episodes

    def load(self, ctx: "RunContext | None" = None) -> OfflineData:
        """Every training task's episodes; generates those that are not there yet.

        Raises LabError where the content of a file cannot be (NaN, a forbidden action, ...), and
        PreemptedError where the run was asked to stop meanwhile.
        """
        layouts, tasks = self.layouts(), self.tasks
        data = {task: self._load(ctx, layouts[task]) for task in tasks.train}
        return OfflineData(data, tasks.train, tasks.test)

    def fingerprint(self) -> str:
        """SHA-256 of the files' content and of the choice among it, or of the recipes."""
        layouts = self.layouts()
        known = {task: self._identity(task, layouts[task]) for task in self.tasks.train}
        text = json.dumps({"timeouts": self._timeouts, "tasks": known}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def make(self, progress: Callable[[str, int, int], None]) -> Mapping[str, object]:
        """Generate what is not there yet; the place and the statistics of each task's file."""
        if self.config.path:
            raise LabError(f"dataset.path={self.config.path}: its files are read; nothing to make")
        facts = {}
        for task in self.tasks.train:
            recipe = self._recipe(task)
            file = cache.ensure(recipe, progress)
            part = cache.kept(recipe)
            assert part is not None
            facts[task] = f"{_statistics(part, task)}: {file}"
        return facts

    @property
    def _timeouts(self) -> suites.Timeouts:
        wanted = self.config.timeouts
        return self.tasks.timeouts if wanted == "suite" else wanted

    def _recipe(self, task: str) -> Recipe:
        config = self.config
        if config.num_episodes == 0:
            raise LabError(
                "dataset.num_episodes=0 means all episodes of files; without dataset.path "
                "say how many are to be generated"
            )
        return Recipe(task, _quality(config.quality), config.num_episodes, config.data_seed)

    def _check_simulators(self, layouts: Mapping[str, Layout]) -> None:
        """One task of each family whose data are to be generated is started; files need none."""
        if not self.config.path:
            environments.start_one_of_each_family([layouts[task] for task in self.tasks.train])

    def _describe(self, task: str, layout: Layout) -> str:
        if self.config.path:
            return stored.select(self.config, task, layout).describe()
        recipe = self._recipe(task)
        part = cache.kept(recipe)
        if part is None:
            return f"{recipe.num_episodes} episodes, to be generated: {cache.path_of(recipe)}"
        return f"{_statistics(part, task)}, generated: {part.file}"

    def _load(self, ctx: "RunContext | None", layout: Layout) -> TaskData:
        config, task = self.config, layout.task
        if config.path:
            selection = stored.select(config, task, layout)
            episodes, flagged = selection.read(), selection.flagged
            numbers, origin = selection.index, selection.describe()
        else:
            recipe = self._recipe(task)
            cache.ensure(recipe, _sign_of_life(ctx))
            episodes, flagged = cache.read(recipe), True
            numbers, origin = np.arange(len(episodes)), f"generated by {recipe.policy()}"
        ended = end_at_timeouts(
            episodes, layout.episode_limit, timeouts=self._timeouts, flagged=flagged
        )
        place = f"data of {task} with dataset.timeouts={self._timeouts}"
        checks.check_valued(ended, layout, file=place, episodes=numbers)
        if ctx:
            cut = _cut(episodes, ended, flagged=flagged)
            ctx.note(f"data of {task}: {origin}; {cut}")
        return TaskData(layout, ended)

    def _identity(self, task: str, layout: Layout) -> Any:
        if self.config.path:
            return stored.select(self.config, task, layout).fingerprint()
        return self._recipe(task).facts()


def _quality(name: str) -> Quality:
    """A quality that cheap policies play. Raises LabError for any other."""
    for quality in get_args(Quality):
        if quality == name:
            return quality
    raise LabError(
        f"dataset.quality={name}: no cheap policy plays it, only {', '.join(get_args(Quality))}; "
        "set dataset.path to a folder that holds such episodes"
    )


def _cut(stored: Episodes, ended: Episodes, *, flagged: bool) -> str:
    """How many episodes were cut off, and of how many of them the files do not say it."""
    text = f"{ended.truncated.any(1).sum()} of {len(ended)} cut off"
    by_length = (ended.truncated & ~stored.truncated).any(1).sum()
    if not flagged:
        return f"{text}, told by their length"
    return f"{text}, {by_length} of them told by their length" if by_length else text


def _check_distinct(key: str, names: Sequence[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise LabError(f"dataset.{key} names {name!r} twice")


def _statistics(part: Part, task: str) -> str:
    facts = part.attributes
    won = f"won {facts['win_rate']:.3f}, " if environments.has_goal(task) else ""
    return (
        f"{part.num_episodes} episodes, {won}"
        f"return {facts['mean_return']:.2f}, length {facts['mean_length']:.1f}"
    )


def _sign_of_life(ctx: "RunContext | None") -> Progress:
    """Tells the run how far the data are, and stops where it was asked to."""
    if ctx is None:
        return lambda what, done, total: None
    ctx.progress(stage="make data")

    def show(what: str, done: int, total: int) -> None:
        ctx.progress(step=done, total=total)
        if ctx.should_stop:
            raise PreemptedError("stopped while its data were made; they are made afresh next time")

    return show

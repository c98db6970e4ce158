"""The dataset component `offline`: a suite's episodes, from files or from cheap policies."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
from labrun.errors import LabError, PreemptedError
from labrun.plan import Plan, Setup

from lab_marl import environments
from lab_marl.behaviours.qualities import Quality
from lab_marl.behaviours.tiers import Progress
from lab_marl.datasets import cache, reading, stored, suites
from lab_marl.datasets.config import OfflineDataConfig
from lab_marl.datasets.generated import Recipe, in_words
from lab_marl.datasets.reading import Source
from lab_marl.episodes.buffered import Buffer
from lab_marl.episodes.hdf5_files import Part
from lab_marl.episodes.layouts import Layout, check_one_network
from lab_marl.episodes.offline_data import OfflineData, TaskData

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
        """Tasks, and where each training task's episodes lie.

        Raises LabError for unknown suites and tasks, tasks that no one network can serve, a
        simulator that is not installed, and files that are missing, don't fit their task or hold
        what cannot be. Content is read of at most `reading.CHECKED` bytes of a task; of more, the
        run checks it before training.
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
        return Plan(facts | sources | self._memory(layouts))

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
        sources = {task: self._source(ctx, layouts[task]) for task in tasks.train}
        buffer = self._buffer(sources)
        data = {task: self._load(ctx, source, buffer) for task, source in sources.items()}
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
            selection = stored.select(self.config, task, layout)
            source = Source(layout, selection.parts, selection.index, self._timeouts)
            return selection.describe() + reading.checked(source)
        recipe = self._recipe(task)
        part = cache.kept(recipe)
        if part is None:
            return f"{recipe.num_episodes} episodes, to be generated: {cache.path_of(recipe)}"
        return f"{_statistics(part, task)}, generated: {part.file}"

    def _there(self, layout: Layout) -> Source | None:
        """A task's files; None: they are to be generated."""
        if self.config.path:
            selection = stored.select(self.config, layout.task, layout)
            return Source(layout, selection.parts, selection.index, self._timeouts)
        part = cache.kept(self._recipe(layout.task))
        if part is None:
            return None
        return Source(layout, (part,), np.arange(part.num_episodes), self._timeouts)

    def _source(self, ctx: "RunContext | None", layout: Layout) -> Source:
        """A task's files; generates them where they are not there yet."""
        if not self.config.path:
            cache.ensure(self._recipe(layout.task), _sign_of_life(ctx, "make data"))
        source = self._there(layout)
        assert source is not None
        return source

    def _memory(self, layouts: Mapping[str, Layout]) -> dict[str, object]:
        """What a limit of memory comes to, where all files are there. Raises LabError where it is
        too small."""
        sources = {task: self._there(layouts[task]) for task in self.tasks.train}
        known = {task: source for task, source in sources.items() if source}
        buffer = self._buffer(known) if len(known) == len(sources) else None
        if buffer is None:
            return {}
        for source in known.values():
            source.check_room(buffer.limit)
        size = sum(source.nbytes for source in known.values()) / reading.GIB
        held = f"{self.config.memory_limit_gib:g} of at most {size:.3g} GiB"
        return {"memory": f"{held}; episodes are read from their files as they are drawn"}

    def _buffer(self, sources: Mapping[str, Source]) -> Buffer | None:
        """What the tasks share where their episodes take more than the limit; None: all lie in
        memory."""
        limit = int(self.config.memory_limit_gib * reading.GIB)
        size = sum(source.nbytes for source in sources.values())
        return Buffer(limit) if 0 < limit < size else None

    def _load(self, ctx: "RunContext | None", source: Source, buffer: Buffer | None) -> TaskData:
        layout = source.layout
        with self._remedy(layout.task):
            if buffer is None:
                data, cut = source.in_memory()
            else:
                data, cut = source.buffered(buffer, _sign_of_life(ctx, "check data"))
        if ctx:
            where = f", read through a buffer of {self.config.memory_limit_gib:g} GiB"
            text = f"{self._origin(layout)}{where if buffer else ''}"
            ctx.note(f"data of {layout.task}: {text}; {cut.describe(flagged=source.flagged)}")
        return data

    def _origin(self, layout: Layout) -> str:
        if self.config.path:
            return stored.select(self.config, layout.task, layout).describe()
        return f"generated by {self._recipe(layout.task).policy()}"

    def _remedy(self, task: str) -> AbstractContextManager[None]:
        """Of generated data that are damaged."""
        if self.config.path:
            return nullcontext()
        return cache.remedy(cache.path_of(self._recipe(task)))

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


def _check_distinct(key: str, names: Sequence[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise LabError(f"dataset.{key} names {name!r} twice")


def _statistics(part: Part, task: str) -> str:
    return in_words(task, part.num_episodes, part.attributes)


def _sign_of_life(ctx: "RunContext | None", stage: str) -> Progress:
    """Tells the run how far the data are, and stops where it was asked to."""
    if ctx is None:
        return lambda what, done, total: None
    ctx.progress(stage=stage)

    def show(what: str, done: int, total: int) -> None:
        ctx.progress(step=done, total=total)
        if ctx.should_stop:
            raise PreemptedError(f"stopped at: {stage}; begins again with it next time")

    return show

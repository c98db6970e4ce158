"""The trainer component of every offline method: what is its own stands in one `OfflineMethod`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from labrun import Continues, LabError, Plan, Setup, TrainResult
from labrun.plugins.discovery import resolve

from lab_marl.datasets.offline import OfflineDataset
from lab_marl.episodes.layouts import Layout
from lab_marl.training.config import OfflineSettings

if TYPE_CHECKING:
    import torch
    from labrun.runs.context import RunContext

    from lab_marl.episodes.offline_data import OfflineData
    from lab_marl.training.learner import Learner

FREE = ("save_every", "evaluate_every", "evaluate_start", "device")
"""Keys on which neither a learner's state nor its updates depend."""
Check = Callable[[Any, Sequence[Layout], Sequence[Layout]], Mapping[str, object]]
"""(config, layouts of the training tasks, of all tasks) -> facts for the plan.

A plan's `config.device` is cpu or cuda, never auto. Raises LabError where the method cannot be
trained so."""


def serves_any_task(
    config: OfflineSettings, train: Sequence[Layout], tasks: Sequence[Layout]
) -> Mapping[str, object]:
    """No facts, and no refusal."""
    del config, train, tasks
    return {}


def uses_all(config: OfflineSettings) -> Mapping[str, str]:
    """No key is without use."""
    del config
    return {}


@dataclass(frozen=True)
class OfflineMethod:
    """A method of offline multi-agent RL; called with its config, it is the trainer's factory."""

    learner: str
    """`module:class` of a `Learner`, called as (layouts of the training tasks, config, device=).

    Imported when a run is planned, so that `lab plugins` needs no torch."""
    check: Check = serves_any_task
    follow_max_steps: tuple[str, ...] = ()
    """Keys of the config that make a step depend on `max_steps`, a schedule that ends with it."""
    unused: Callable[[Any], Mapping[str, str]] = uses_all
    """(config) -> keys of the config that change nothing, each with the setting that makes it
    so."""

    def __call__(self, config: OfflineSettings) -> "OfflineTrainer":
        return OfflineTrainer(config, self)


class OfflineTrainer:
    """Trains a method on the offline data, in one process."""

    def __init__(self, config: OfflineSettings, method: OfflineMethod) -> None:
        self.config = config
        self.method = method

    def plan(self, setup: Setup) -> Plan:
        """Updates and batch of the run. Raises LabError where data, settings and machine do not
        fit."""
        config, dataset = self.config, setup.dataset
        if not isinstance(dataset, OfflineDataset):
            raise LabError(f"this trainer takes dataset=marl.offline, not {type(dataset).__name__}")
        _check_machine(config)
        resolve(self.method.learner)
        tasks = dataset.tasks.train
        _check_batch(config.batch_size, dataset)
        layouts = dataset.layouts()
        placed = replace(config, device=_device(config, setup))
        own = self.method.check(placed, [layouts[name] for name in tasks], [*layouts.values()])
        updates = round(config.max_steps / len(tasks), 1)
        return Plan(
            {"updates_per_task": updates, "batch_size": config.batch_size, **own},
            unused=self.method.unused(config),
            continues=Continues(FREE, self.method.follow_max_steps),
        )

    def fit(self, ctx: "RunContext", data: "OfflineData") -> TrainResult:
        from lab_marl.training import loop

        return loop.train(ctx, data, self.config, self.learner)

    def learner(self, layouts: Sequence[Layout], device: "torch.device") -> "Learner":
        """A fresh learner for the training tasks of these layouts."""
        return resolve(self.method.learner)(layouts, self.config, device=device)


def _check_batch(batch_size: int, dataset: OfflineDataset) -> None:
    wanted = dataset.config.num_episodes
    if 0 < wanted < batch_size:
        raise LabError(
            f"trainer.batch_size={batch_size} is more than dataset.num_episodes={wanted}"
        )
    for task in dataset.tasks.train:
        held = dataset.num_episodes(task)
        if held < batch_size:
            raise LabError(
                f"task {task!r} has {held} episodes, fewer than trainer.batch_size={batch_size}; "
                "set a smaller batch"
            )


def _device(config: OfflineSettings, setup: Setup) -> Literal["cpu", "cuda"]:
    """Where the run's networks will lie."""
    if config.device == "auto":
        return "cuda" if setup.num_gpus else "cpu"
    return config.device


def _check_machine(config: OfflineSettings) -> None:
    import torch

    if config.device == "cuda" and not torch.cuda.is_available():
        raise LabError(
            "trainer.device=cuda, but torch finds no CUDA device; use trainer.device=cpu"
        )
    if config.weights and not Path(config.weights).is_file():
        raise LabError(f"trainer.weights={config.weights}: no such file")

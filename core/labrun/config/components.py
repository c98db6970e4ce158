"""The live components of an experiment, built from its frozen settings."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from labrun.config.typed_values import typed
from labrun.contract import (
    KINDS,
    Component,
    Dataset,
    Evaluator,
    Kind,
    Trainer,
    TrainResult,
)
from labrun.errors import LabError
from labrun.experiment import Experiment, ResourcesConfig
from labrun.plan import Plan, Setup
from labrun.plugins import discovery as plugins
from labrun.plugins.building import built, config_class, planned


@dataclass(frozen=True)
class Parts:
    trainer: Trainer
    dataset: Dataset
    evaluators: Mapping[str, Evaluator]

    def setup(self, num_processes: int, resources: ResourcesConfig) -> Setup:
        """What is known of the run before any component is planned."""
        return Setup(
            dataset=self.dataset,
            evaluators=self.evaluators,
            num_processes=num_processes,
            num_gpus=resources.num_gpus,
            min_gpu_memory_gib=resources.min_gpu_memory_gib,
        )

    def plan(self, resources: ResourcesConfig) -> dict[str, Plan]:
        """What each component says, by section; LabError where the experiment could not run."""
        _check_resources(resources)
        key = "num_processes" if resources.num_processes else "num_gpus"
        key = "num_nodes" if resources.num_nodes > 1 else key
        setup = self.setup(resources.processes, resources)
        return self.plan_for(setup, key=f"resources.{key}")

    def plan_for(self, setup: Setup, *, key: str) -> dict[str, Plan]:
        """The plans of all components; `key` is what says how many processes there are."""
        data = planned("dataset", self.dataset, setup)
        setup = replace(setup, data=data.offers)
        work = planned("trainer", self.trainer, setup)
        if work.max_processes is not None and setup.num_processes > work.max_processes:
            most = work.max_processes
            raise LabError(f"{key}={setup.num_processes}: this trainer uses at most {most}")
        setup = replace(setup, model=work.offers)
        scored = {
            section: planned(section, evaluator, setup)
            for name, evaluator in self.evaluators.items()
            for section in [f"evaluator.{name}"]
        }
        plans = {"dataset": data, "trainer": work, **scored}
        return {section: replace(plan, offers=None) for section, plan in plans.items()}


def _check_resources(resources: ResourcesConfig) -> None:
    if resources.num_gpus and resources.num_processes not in (0, resources.num_gpus):
        raise LabError(
            f"resources.num_processes={resources.num_processes}: a job with "
            f"resources.num_gpus={resources.num_gpus} has one process per GPU; "
            "leave num_processes out"
        )
    if 0 < resources.time_limit * 60 <= resources.save_ahead_s:
        raise LabError(
            f"resources.time_limit={resources.time_limit:g}: a job of so many minutes ends before "
            f"it has begun to save a checkpoint, {resources.save_ahead_s:g} s ahead; raise the "
            "limit, or lower resources.save_ahead_s"
        )


def build(experiment: Experiment) -> Parts:
    """Instances of the experiment's components; imports their modules."""
    made = {section: _make(experiment, section) for section in experiment.components}
    evaluators = {
        section.split(".", 1)[1]: part
        for section, part in made.items()
        if section.startswith("evaluator.")
    }
    return Parts(made["trainer"], made["dataset"], evaluators)


def _make(experiment: Experiment, section: str) -> Any:
    component = component_of(experiment, section)
    settings = experiment.settings[section]
    owner = experiment.components[section].split(".", 1)[0]
    config = typed(config_class(owner, component), settings, section=section)
    return built(owner, component, config)


def component_of(experiment: Experiment, section: str) -> Component:
    owner, _ = experiment.components[section].split(".", 1)
    name = experiment.components[section]
    return plugins.find(_kind(section), name, plugins.load(owner))[1]


def _kind(section: str) -> Kind:
    return next(kind for kind in KINDS if section.split(".", 1)[0] == kind)


def trained(trainer: Trainer, returned: Any) -> TrainResult:
    """What the trainer returned. Raises LabError for anything but a TrainResult."""
    if isinstance(returned, TrainResult):
        return returned
    got = "None" if returned is None else f"a {type(returned).__name__}"
    kind = type(trainer)
    raise LabError(
        f"{kind.__module__}.{kind.__qualname__}.fit() returns {got}; "
        "return labrun.TrainResult(model, step)"
    )

"""The live components of an experiment, built from its frozen settings."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from labrun.config.typed_values import typed
from labrun.contract import (
    KINDS,
    ChecksDataset,
    ChecksProcesses,
    Component,
    Dataset,
    Evaluator,
    Kind,
    Trainer,
    TrainResult,
)
from labrun.errors import LabError
from labrun.experiment import Experiment, ResourcesConfig
from labrun.plugins import discovery as plugins
from labrun.plugins.building import built, config_class, facts_of


@dataclass(frozen=True)
class Parts:
    trainer: Trainer
    dataset: Dataset
    evaluators: Mapping[str, Evaluator]

    def preflight(self, resources: ResourcesConfig) -> dict[str, Mapping[str, object]]:
        """Facts by section; LabError where the experiment could not run."""
        self._check_resources(resources)
        self._check_distinct()
        facts = {
            "dataset": facts_of("dataset", self.dataset.preflight),
            "trainer": facts_of("trainer", self.trainer.preflight, self.dataset),
        }
        for evaluator in self.evaluators.values():
            if isinstance(evaluator, ChecksDataset):
                evaluator.check(self.dataset)
        sections = {f"evaluator.{name}": part for name, part in self.evaluators.items()}
        return facts | {name: facts_of(name, part.preflight) for name, part in sections.items()}

    def _check_resources(self, resources: ResourcesConfig) -> None:
        if resources.num_gpus and resources.num_processes not in (0, resources.num_gpus):
            raise LabError(
                f"resources.num_processes={resources.num_processes}: a job with "
                f"resources.num_gpus={resources.num_gpus} has one process per GPU; "
                "leave num_processes out"
            )
        if 0 < resources.time_limit * 60 <= resources.save_ahead_s:
            raise LabError(
                f"resources.time_limit={resources.time_limit:g}: a job of so many minutes ends "
                f"before it has begun to save a checkpoint, {resources.save_ahead_s:g} s ahead; "
                "raise the limit, or lower resources.save_ahead_s"
            )
        key = "num_processes" if resources.num_processes else "num_gpus"
        key = "num_nodes" if resources.num_nodes > 1 else key
        self.check_processes(resources.processes, key=f"resources.{key}")

    def _check_distinct(self) -> None:
        """LabError where two evaluators would record scores under the same names."""
        found: dict[str, str] = {}
        for name, evaluator in self.evaluators.items():
            alike = getattr(evaluator, "scores_like", name)
            if alike in found:
                raise LabError(
                    f"evaluators {found[alike]} and {name} give scores of the same names, of which "
                    "one would hide the other; name one of them"
                )
            found[alike] = name

    def check_processes(self, num_processes: int, *, key: str) -> None:
        """LabError where the trainer cannot share its work among so many processes."""
        most = getattr(self.trainer, "max_processes", 1)
        if most is not None and num_processes > most:
            raise LabError(f"{key}={num_processes}: this trainer uses at most {most}")
        if num_processes > 1 and isinstance(self.trainer, ChecksProcesses):
            self.trainer.check_processes(num_processes)


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

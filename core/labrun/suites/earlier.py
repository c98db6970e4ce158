"""Runs of earlier versions: settings that came later count at their defaults."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from labrun.experiment import Experiment
from labrun.plain import flat, to_plain
from labrun.plugins import discovery
from labrun.plugins.building import config_class


def completed(experiment: Experiment) -> Experiment:
    """The experiment with every key that its components have today.

    Raises LabError where a component is not installed any more.
    """
    settings = {
        section: _filled(_defaults(section, experiment.components[section]), values)
        for section, values in experiment.settings.items()
    }
    return dataclasses.replace(experiment, settings=settings)


def later_keys(experiment: Experiment) -> list[str]:
    """The keys that the experiment lacks. Raises LabError as `completed` does."""
    known = dict(flat(experiment.settings))
    return [key for key, _ in flat(completed(experiment).settings) if key not in known]


def _defaults(section: str, component: str) -> Any:
    """An instance of the component's config class."""
    kind, owner = section.partition(".")[0], component.partition(".")[0]
    _, found = discovery.find(kind, component, discovery.load(owner))  # pyrefly: ignore[bad-argument-type]
    return config_class(owner, found)()


def _filled(defaults: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    filled = dict(values)
    for field in dataclasses.fields(defaults):
        default = getattr(defaults, field.name)
        if field.name not in filled:
            filled[field.name] = to_plain(default)
        elif dataclasses.is_dataclass(default) and isinstance(filled[field.name], Mapping):
            filled[field.name] = _filled(default, filled[field.name])
    return filled

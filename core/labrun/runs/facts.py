"""What can be asked of one run by key: its state and presets, its settings, its scores."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from labrun.errors import LabError
from labrun.plain import flat, to_plain
from labrun.runs.run_dir import RunDir
from labrun.runs.run_index import Entry

Value = str | int | float | bool | None
FIXED = ("id", "name", "state", "step", "group", "tag", "created", "archived", "host")
"""Keys of every run beside its presets, settings and scores."""


@dataclass(frozen=True)
class RunFacts:
    """A run's answers; each file is read when it is first asked for."""

    entry: Entry

    def values(self, key: str) -> Sequence[Value]:
        """The run's values of the key: several tags, else one; none where it lacks the key.

        A score is that of its last step. A setting's key may be written by its end, where that is
        unique. Raises LabError where it is not, DamagedError where the events are damaged.
        """
        entry = self.entry
        if key == "tag":
            return entry.notes.tags
        if key == "created":
            local = time.localtime(entry.created)
            return [time.strftime(form, local) for form in ("%Y-%m-%dT%H:%M:%S", "%Y-%m-%d")]
        if key in FIXED:
            return [self._fixed(key)]
        if key in entry.facts:
            return [entry.facts[key]]
        if "/" in key and key in self._scores:
            return [self._scores[key]]
        full = self._full(key)
        return [_value(self._settings[full])] if full else ()

    def has(self, key: str) -> bool:
        """Whether the run has the key; of one whose events are damaged, what its spec knows."""
        try:
            return key in FIXED or key in self.entry.facts or bool(self.values(key))
        except LabError:
            return True

    def every_key(self) -> list[str]:
        """Every key of the run's presets, settings and scores."""
        try:
            scores = list(self._scores)
        except LabError:
            scores = []
        return [*self.entry.facts, *self._settings, *scores]

    def _fixed(self, key: str) -> Value:
        entry = self.entry
        if key == "host":
            return entry.run.recorded_status().host
        if key in ("name", "archived"):
            return getattr(entry.notes, key)
        return getattr(entry, key)

    def _full(self, key: str) -> str | None:
        """The setting that the key means, in full or by its end."""
        if key in self._settings:
            return key
        homes = [name for name in self._settings if name.endswith(f".{key}")]
        if len(homes) > 1:
            raise LabError(f"key {key!r} is ambiguous; write {' or '.join(sorted(homes)[:10])}")
        return homes[0] if homes else None

    @cached_property
    def _settings(self) -> Mapping[str, Any]:
        """Every setting by its full key; none where the spec is damaged."""
        try:
            return settings_of(self.entry.run)
        except LabError:
            return {}

    @cached_property
    def _scores(self) -> Mapping[str, float]:
        return last_scores(self.entry.run)


def settings_of(run: RunDir) -> dict[str, Any]:
    """Every setting of the run by its full key, components and presets too; lists stay lists.

    Raises DamagedError where the spec is damaged.
    """
    experiment = run.experiment()
    return {
        "plugin": experiment.plugin,
        **experiment.choices,
        **experiment.components,
        **dict(flat(to_plain(experiment.run))),
        **dict(flat(experiment.settings)),
    }


def last_scores(run: RunDir) -> dict[str, float]:
    """TASK/METRIC -> the score at its last step. Raises DamagedError."""
    return {
        f"{task}/{metric}": steps[max(steps)].value
        for (task, metric), steps in run.scores().items()
    }


def _value(value: Any) -> Value:
    """The setting as it is compared; a list or mapping as it is typed on the command line."""
    if isinstance(value, list | tuple):
        return f"[{','.join(map(str, value))}]"
    return "{}" if isinstance(value, Mapping) else value

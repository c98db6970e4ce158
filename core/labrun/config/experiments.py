"""From command-line overrides to one strictly checked Experiment (Hydra compose, then pydantic)."""

import difflib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from labrun.config import user_defaults
from labrun.config.authorship import blamed, preset_with, set_at
from labrun.config.composition import Composition, composed, sections_of
from labrun.config.keys import refuse_twice
from labrun.config.presets import preset_groups
from labrun.config.typed_values import refusal, typed, validated
from labrun.config.words import Word, expand, is_sweep, plain_text, single
from labrun.contract import KINDS, PluginInfo
from labrun.errors import LabError, listed
from labrun.experiment import Experiment, RunConfig
from labrun.plain import flat, to_plain
from labrun.plugins import discovery as plugins

TRACKING_VARIABLE = "MLFLOW_TRACKING_URI"
__all__ = ["compose", "expand", "flat", "is_sweep", "preset_groups", "studied", "to_plain", "typed"]


def compose(overrides: Sequence[str]) -> Experiment:
    """The experiment that the overrides describe, every value checked.

    Raises LabError, in one line, for an unknown plugin, preset, component or key, a key set twice,
    a wrong type, a value out of range, or an override that would slip past the checks (`+key`,
    `~key`).
    """
    words = [single(text) for text in overrides]
    composition, values = composed(_plugin(words), words)
    with _presets_checked(composition):
        keys = composition.keys
    settings = [keys.setting(word) for word in values]
    refuse_twice(settings)
    plain = composition.values(settings)
    with _presets_checked(composition):
        return _experiment(composition, plain, tuple(overrides))


@contextmanager
def _presets_checked(composition: Composition) -> Iterator[None]:
    """Names what is wrong in a chosen preset, where that is why something was refused inside."""
    try:
        yield
    except LabError as error:
        raise blamed(composition.info, composition.choices, error) from error


def studied(overrides: Sequence[str]) -> list[Experiment]:
    """The experiment that the overrides describe, or, where a preset sets `sweep`, each of its
    points that the overrides leave open."""
    experiment = compose(overrides)
    named = {Word.of(text).key for text in overrides}
    axes = [axis for axis in experiment.run.sweep if not _is_named(axis, named)]
    if not axes:
        return [_tracked(experiment, named)]
    try:
        return [_tracked(compose([*overrides, *point]), named) for point in expand(axes)]
    except LabError as error:  # the words before the sweep's were taken above
        preset = preset_with(plugins.load(experiment.plugin), experiment.choices, "sweep")
        if not preset or "sweep" in named:
            raise
        raise LabError(f"the sweep of {preset}: {error}") from error


def _tracked(experiment: Experiment, named: Iterable[str]) -> Experiment:
    """The experiment with the store of MLFLOW_TRACKING_URI, where nothing else names one."""
    uri, run = os.environ.get(TRACKING_VARIABLE, ""), experiment.run
    if not uri or run.tracking.uri or _is_named("tracking.uri=", named):
        return experiment
    return replace(experiment, run=replace(run, tracking=replace(run.tracking, uri=uri)))


def replaced(words: Sequence[str], by: Sequence[str]) -> list[str]:
    """The words with those of `by` behind them, without the earlier words for the same keys."""
    named = {Word.of(text).key for text in by}
    return [*(word for word in words if not _is_named(word, named)), *by]


def _is_named(axis: str, named: Iterable[str]) -> bool:
    """Whether the axis's key is among `named`, in full or by its end."""
    key = Word.of(axis).key
    return any(f".{key}".endswith(f".{name}") or f".{name}".endswith(f".{key}") for name in named)


def _plugin(words: Sequence[Word]) -> PluginInfo:
    for word in words:
        if word.key == "plugin":
            return plugins.load(plain_text(word.text, key="plugin"))
    names = listed(plugins.installed())
    near = next((w.key for w in words if difflib.get_close_matches(w.key, ["plugin"])), "")
    hint = f"'{near}' is no key, did you mean plugin? " if near else ""
    raise LabError(f"no plugin named; {hint}write plugin=NAME, installed: {names}")


def _experiment(
    composition: Composition, plain: Mapping[str, Any], overrides: tuple[str, ...]
) -> Experiment:
    sections = {name: dict(values) for name, values in sections_of(plain).items()}
    named = {name: str(values.pop("component")) for name, values in sections.items()}
    root = {key: value for key, value in plain.items() if key not in KINDS}
    root["group"] = str(root["group"])  # a label may be a number
    run = typed(RunConfig, root, section="")
    for section, values in sections.items():
        _check(composition, section, named[section], values, overrides)
    return Experiment(
        plugin=composition.info.name,
        run=run,
        settings=sections,
        components=named,
        choices={k: v for k, v in composition.choices.items() if k not in KINDS},
        overrides=overrides,
        defaults=_own_defaults(run, overrides),
    )


def _own_defaults(run: RunConfig, overrides: Iterable[str]) -> tuple[str, ...]:
    """The words of the user's file that the run has and no typed word sets."""
    named = {Word.of(text).key for text in overrides}
    mine = user_defaults.current().in_force(run)
    return tuple(word for word in mine if not _is_named(word, named))


def _check(
    composition: Composition,
    section: str,
    name: str,
    values: Mapping[str, Any],
    overrides: Sequence[str],
) -> None:
    """Raise LabError where the values are not what the section's component takes."""
    try:
        validated(composition.schema(section, name), values)
    except ValidationError as error:
        strange = [e["loc"] for e in error.errors() if e["type"] == "unexpected_keyword_argument"]
        if strange:
            keys = listed(".".join(map(str, [section, *loc])) for loc in strange)
            raise LabError(f"{name} has no key {keys}; {composition.presets()}") from error
        raise _with_place(composition, error, section, overrides) from error


def _with_place(
    composition: Composition, error: ValidationError, section: str, overrides: Sequence[str]
) -> LabError:
    """The refusal, with the preset's file and line where a preset set the first refused key."""
    text = str(refusal(error, section))
    key = ".".join(map(str, [section, *error.errors()[0]["loc"]]))
    named = [Word.of(word).key for word in overrides]
    if any(f".{name}." in f".{key}." for name in named):
        return LabError(text)
    place = set_at(composition.info, composition.choices, key)
    return LabError(f"{text} (set at {place})" if place else text)


def key_of(experiment: Experiment) -> str:
    """Equal for experiments that would run alike, however they were worded."""
    return json.dumps(to_plain(experiment) | {"overrides": (), "defaults": ()}, sort_keys=True)


def key_without_seed(experiment: Experiment) -> str:
    """Equal for experiments that differ in nothing but their seed, group and wording."""
    plain = to_plain(experiment) | {"overrides": (), "defaults": ()}
    plain["run"] = plain["run"] | {"seed": 0, "group": ""}
    return json.dumps(plain, sort_keys=True)

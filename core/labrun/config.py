"""From command-line overrides to one strictly checked Experiment (Hydra compose, then pydantic)."""

import copy
import difflib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import TypeAdapter, ValidationError

from labrun import plugins
from labrun.choices import ROOT, Components, choice, preset_groups, register
from labrun.contract import KINDS, Kind, PluginInfo
from labrun.errors import LabError, shown
from labrun.keys import Keys, Setting, refuse_twice, set_twice
from labrun.plain import flat, to_plain
from labrun.run_config import Experiment, RunConfig
from labrun.words import Word, copyable, expand, is_sweep, plain_text, single

__all__ = ["compose", "expand", "flat", "is_sweep", "preset_groups", "studied", "to_plain", "typed"]

OmegaConf.register_new_resolver("by", lambda key, values: values[key], replace=True)
"""For presets: `${by:${trainer.objective},{grpo: 1.0e-6, sdpo: 1.0e-5}}` is the key's value."""


def _refuse_environment(*words: str) -> str:
    raise LabError(
        f"oc.env would freeze the variable {', '.join(words[:1])} in spec.json for all to read; "
        "write out a value that is no secret, and let the code read a secret where it needs it"
    )


OmegaConf.register_new_resolver("oc.env", _refuse_environment, replace=True)


def compose(overrides: Sequence[str]) -> Experiment:
    """The experiment that the overrides describe, every value checked.

    Raises LabError, in one line, for an unknown plugin, preset, component or key, a key set twice,
    a wrong type, a value out of range, or an override that would slip past the checks (`+key`,
    `~key`).
    """
    words = [single(text) for text in overrides]
    info = _plugin(words)
    groups = preset_groups(info)
    picks = _picks(words, {"plugin", *groups, *KINDS})
    components = register(info, picks)
    chosen = [choice(info, n, w, groups, components) for n, w in picks.items() if n != "plugin"]
    config = _presets(info, chosen)
    values = [word for word in words if word.key not in picks]
    keys = _keys(info, config, components, groups)
    _apply(config, keys, [keys.setting(word) for word in values])
    return _experiment(info, config, components, tuple(overrides))


def _picks(words: Sequence[Word], choosing: Iterable[str]) -> dict[str, Word]:
    """The words that choose the plugin, presets and components, by what they choose."""
    picks: dict[str, Word] = {}
    for word in words:
        if word.key in choosing:
            if word.key in picks:
                raise set_twice(word.key, picks[word.key], word)
            picks[word.key] = word
    return picks


def _keys(
    info: PluginInfo, base: DictConfig, components: Components, groups: Iterable[str]
) -> Keys:
    plain = _plain(base)
    schemas = {
        section: plugins.resolve(components[_kind(section), values["component"]][1].config)
        for section, values in _sections(plain).items()
        if "component" in values
    }
    leaves = tuple(key for key, _ in flat(plain) if not key.endswith(".component"))
    return Keys(leaves, schemas, ("plugin", *KINDS, *groups), info)


def _apply(config: DictConfig, keys: Keys, settings: Sequence[Setting]) -> None:
    """Put the values into the configuration, mappings merged with what is there."""
    refuse_twice(settings)
    for setting in settings:
        key, value = keys.place(setting)
        try:
            OmegaConf.update(config, key, value, merge=True, force_add=keys.is_open(key))
        except (OmegaConfBaseException, RecursionError) as error:
            raise _unfit(setting, error) from error
    for setting in settings:
        if "${" in setting.word.text or "???" in setting.word.text:
            _resolve(config, keys.place(setting)[0], setting)


def _resolve(config: DictConfig, key: str, setting: Setting) -> None:
    """Raises LabError, with the word, for an interpolation that leads nowhere."""
    try:
        node = OmegaConf.select(config, key, throw_on_missing=True)
        if OmegaConf.is_config(node):
            OmegaConf.to_container(node, resolve=True, throw_on_missing=True)
    except (OmegaConfBaseException, RecursionError) as error:
        raise _unfit(setting, error) from error


def _unfit(setting: Setting, error: Exception) -> LabError:
    hint = ""
    if isinstance(setting.value, str) and "${" in setting.value:
        literal = Word(setting.word.key, setting.value.replace("${", "\\${"))
        hint = f"; where ${{ is no interpolation write {copyable(literal)}"
    return LabError(f"{setting.word}: {_reason(error)}{hint}")


def _reason(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "too many brackets inside each other"
    text = str(error).splitlines()[0]
    return shown(text.removeprefix("LabError raised while resolving interpolation: "), limit=300)


def studied(overrides: Sequence[str]) -> list[Experiment]:
    """The experiment that the overrides describe, or, where a preset sets `sweep`, each of its
    points that the overrides leave open."""
    experiment = compose(overrides)
    named = {Word.of(text).key for text in overrides}
    axes = [axis for axis in experiment.run.sweep if not _is_named(axis, named)]
    if not axes:
        return [experiment]
    return [compose([*overrides, *point]) for point in expand(axes)]


def _is_named(axis: str, named: Iterable[str]) -> bool:
    """Whether the axis's key is among `named`, in full or by its end."""
    key = Word.of(axis).key
    return any(f".{key}".endswith(f".{name}") or f".{name}".endswith(f".{key}") for name in named)


def _plugin(words: Sequence[Word]) -> PluginInfo:
    for word in words:
        if word.key == "plugin":
            return plugins.load(plain_text(word.text, key="plugin"))
    names = ", ".join(plugins.installed())
    near = next((w.key for w in words if difflib.get_close_matches(w.key, ["plugin"])), "")
    hint = f"'{near}' is no key, did you mean plugin? " if near else ""
    raise LabError(f"no plugin named; {hint}write plugin=NAME, installed: {names}")


_composed: list[tuple[PluginInfo, Sequence[str], DictConfig]] = []
"""The last composition: the points of a sweep mostly choose the same presets."""


def _presets(info: PluginInfo, chosen: Sequence[str]) -> DictConfig:
    """The values of the presets that are chosen, without the command line's own; a copy."""
    if not _composed or _composed[0][0] is not info or _composed[0][1] != chosen:
        _composed[:] = [(info, list(chosen), _hydra(info, chosen))]
    return copy.deepcopy(_composed[0][2])


def _hydra(info: PluginInfo, overrides: Sequence[str]) -> DictConfig:
    search = ",".join(f"pkg://{package}" for package in info.presets)
    path = [f"hydra.searchpath=[{search}]"] if search else []
    GlobalHydra.instance().clear()
    try:
        with initialize(config_path=None, version_base="1.3"):
            return hydra_compose(ROOT, [*path, *overrides], return_hydra_config=True)
    except (HydraException, OmegaConfBaseException) as error:
        cause = f": {error.__cause__}" if error.__cause__ else ""
        text = " ".join(f"{error}{cause}".split())
        raise LabError(f"cannot compose the configuration: {text}") from error


def _plain(config: DictConfig) -> dict[str, Any]:
    ours = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
    try:
        plain = OmegaConf.to_container(ours, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise LabError(f"{error.full_key}: {_reason(error)}; {_presets_of(config)}") from error
    except RecursionError as error:
        raise LabError(f"cannot compose the configuration: {_reason(error)}") from error
    assert isinstance(plain, dict)
    # What a preset says of an evaluator that was not chosen: it names no component.
    plain["evaluator"] = {
        name: values
        for name, values in plain["evaluator"].items()
        if not isinstance(values, Mapping) or "component" in values
    }
    return {str(key): value for key, value in plain.items()}


def _sections(plain: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Section name -> values: trainer, dataset, and evaluator.NAME for each evaluator."""
    sections = {kind: plain[kind] for kind in KINDS if kind != "evaluator"}
    sections |= {f"evaluator.{name}": values for name, values in plain["evaluator"].items()}
    for name, values in sections.items():
        if not isinstance(values, Mapping):
            raise LabError(f"{name}={json.dumps(values)}: it holds keys and cannot be set whole")
    return sections


def _experiment(
    info: PluginInfo, config: DictConfig, components: Components, overrides: tuple[str, ...]
) -> Experiment:
    plain = _plain(config)
    sections = {name: dict(values) for name, values in _sections(plain).items()}
    named = {name: str(values.pop("component")) for name, values in sections.items()}
    root = {key: value for key, value in plain.items() if key not in KINDS}
    root["group"] = str(root["group"])  # a label may be a number
    run = typed(RunConfig, root, section="")
    for section, values in sections.items():
        schema = plugins.resolve(components[_kind(section), named[section]][1].config)
        if strange := _unknown_keys(schema, values):
            raise LabError(
                f"{named[section]} has no key {', '.join(f'{section}.{key}' for key in strange)}; "
                f"{_presets_of(config)}"
            )
        typed(schema, values, section=section)
    choices = _choices(config)
    return Experiment(
        plugin=info.name,
        run=run,
        settings=sections,
        components=named,
        choices={k: v for k, v in choices.items() if k not in KINDS},
        overrides=overrides,
    )


def _choices(config: DictConfig) -> dict[str, str]:
    """Preset group or kind of component -> what was chosen."""
    picked = config.hydra.runtime.choices
    return {str(k): str(v) for k, v in picked.items() if not str(k).startswith("hydra/")}


def _presets_of(config: DictConfig) -> str:
    """What to do where a preset and a component do not fit each other."""
    chosen = _choices(config)
    presets = " ".join(f"{k}={v}" for k, v in chosen.items() if k not in KINDS)
    parts = " ".join(f"{k}={v}" for k, v in chosen.items() if k in KINDS)
    return f"choose presets that fit each other and the components; now {presets} with {parts}"


def _kind(section: str) -> Kind:
    kind = section.split(".", 1)[0]
    assert kind in KINDS
    return kind


def typed(cls: type[Any], values: Mapping[str, Any], *, section: str) -> Any:
    """`values` as an instance of the `@schema` class.

    Raises LabError that names the key, the value got and what is allowed.
    """
    try:
        return TypeAdapter(cls).validate_json(json.dumps(values), strict=True)
    except ValidationError as error:
        raise LabError("; ".join(_fault(e, section) for e in error.errors())) from error


def _unknown_keys(cls: type[Any], values: Mapping[str, Any]) -> list[str]:
    try:
        TypeAdapter(cls).validate_json(json.dumps(values), strict=True)
    except ValidationError as error:
        strange = (e["loc"] for e in error.errors() if e["type"] == "unexpected_keyword_argument")
        return [".".join(map(str, loc)) for loc in strange]
    return []


def _fault(error: Any, section: str) -> str:
    key = ".".join(part for part in [section, *map(str, error["loc"])] if part)
    if error["type"] == "unexpected_keyword_argument":
        return f"no key {key!r}"
    message = error["msg"].removeprefix("Value error, ")
    text = message[0].lower() + message[1:]
    got = shown(json.dumps(error["input"], ensure_ascii=False))
    names = error.get("ctx", {}).get("expected", "").replace("'", "").replace(" or ", ", ")
    near = difflib.get_close_matches(str(error["input"]), [*filter(None, names.split(", "))], n=1)
    hint = f", did you mean {near[0]!r}?" if near else ""
    return f"{key}={got}: {text}{hint}"


def key_of(experiment: Experiment) -> str:
    """Equal for experiments that would run alike, however they were worded."""
    return json.dumps(to_plain(experiment) | {"overrides": ()}, sort_keys=True)


def key_without_seed(experiment: Experiment) -> str:
    """Equal for experiments that differ in nothing but their seed, group and wording."""
    plain = to_plain(experiment) | {"overrides": ()}
    plain["run"] = plain["run"] | {"seed": 0, "group": ""}
    return json.dumps(plain, sort_keys=True)

"""What presets and components say, composed once, and the command line's own values put in.

Composing takes tens of milliseconds, and the points of a sweep mostly choose the same presets. So a
composition is kept, and a value that no interpolation reads is put into its plain values.
"""

import copy
import functools
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from labrun.config import user_defaults
from labrun.config.authorship import blamed, refuse_missing_choices
from labrun.config.choices import ROOT, Components, choice, register
from labrun.config.keys import Keys, Setting, set_twice
from labrun.config.presets import preset_groups
from labrun.config.store_entries import only_composing
from labrun.config.words import Word, copyable
from labrun.contract import KINDS, Kind, PluginInfo
from labrun.errors import LabError, shown
from labrun.plain import flat
from labrun.plugins.building import config_class

OmegaConf.register_new_resolver("by", lambda key, values: values[key], replace=True)
"""For presets: `${by:${trainer.objective},{grpo: 1.0e-6, sdpo: 1.0e-5}}` is the key's value."""
MOST_KEPT = 128
"""Compositions, and variants of each, that are kept."""
_READS = re.compile(r"\$\{\s*([^${}:]+?)\s*\}")
_CALLS = re.compile(r"\$\{\s*([\w.]+)\s*:")


def _refuse_environment(*words: str) -> str:
    raise LabError(
        f"oc.env would freeze the variable {', '.join(words[:1])} in spec.json for all to read; "
        "write out a value that is no secret, and let the code read a secret where it needs it"
    )


OmegaConf.register_new_resolver("oc.env", _refuse_environment, replace=True)


@dataclass
class Composition:
    """The values of the presets and components that were chosen, without the command line's own."""

    info: PluginInfo
    components: Components
    groups: Sequence[str]
    config: DictConfig
    choices: Mapping[str, str]
    """Preset group or kind of component -> what was chosen."""
    variants: dict[tuple[str, ...], dict[str, Any]] = field(default_factory=dict)
    """Plain values with some words put in, by these words."""

    @functools.cached_property
    def keys(self) -> Keys:
        plain = self._variant([])
        schemas = {
            section: self.schema(section, values["component"])
            for section, values in sections_of(plain).items()
            if "component" in values
        }
        leaves = tuple(key for key, _ in flat(plain) if not key.endswith(".component"))
        return Keys(leaves, schemas, ("plugin", *KINDS, *self.groups), self.info)

    @functools.cached_property
    def _texts(self) -> list[str]:
        """The texts with interpolations."""
        return _interpolated(OmegaConf.to_container(self.config, resolve=False))

    def schema(self, section: str, component: str) -> type[Any]:
        """The config class of the component that stands in the section."""
        qualified, chosen = self.components[_kind(section), component]
        return config_class(qualified.split(".", 1)[0], chosen)

    def presets(self) -> str:
        """What to do where a preset and a component do not fit each other."""
        presets = " ".join(f"{k}={v}" for k, v in self.choices.items() if k not in KINDS)
        parts = " ".join(f"{k}={v}" for k, v in self.choices.items() if k in KINDS)
        return f"choose presets that fit each other and the components; now {presets} with {parts}"

    def values(self, settings: Sequence[Setting]) -> dict[str, Any]:
        """The plain values with the settings put in; the caller's own.

        Raises LabError, with the word, for a value that does not fit.
        """
        slow = [setting for setting in settings if not self._is_put(setting)]
        texts = [*self._texts, *(s.word.text for s in slow if "${" in s.word.text)]
        is_read = _reader(texts)
        slow = [s for s in settings if s in slow or is_read(s.key)]
        try:
            plain = copy.deepcopy(self._variant(slow))
        except LabError:  # what is wrong may depend on the other words
            return self._merged(settings)
        for setting in settings:
            if setting not in slow:
                _put(plain, setting)
        return plain

    def _is_put(self, setting: Setting) -> bool:
        """Whether the setting only takes the place of one plain value."""
        return (
            setting.key in self.keys.leaves
            and not self.keys.is_open(setting.key)
            and _is_plain(setting.value)
            and "${" not in setting.word.text
            and "???" not in setting.word.text
            and not isinstance(_at(self._variant([]), setting.key), Mapping)
        )

    def _variant(self, settings: Sequence[Setting]) -> dict[str, Any]:
        """The values with these settings merged in; kept, and not to be changed."""
        words = tuple(f"{setting.key}={setting.word.text}" for setting in settings)
        if words not in self.variants:
            while len(self.variants) >= MOST_KEPT:
                del self.variants[next(iter(self.variants))]
            self.variants[words] = self._merged(settings)
        return self.variants[words]

    def _merged(self, settings: Sequence[Setting]) -> dict[str, Any]:
        """The values with the settings merged in by OmegaConf, every interpolation resolved."""
        config = copy.deepcopy(self.config) if settings else self.config
        for setting in settings:
            key, value = self.keys.place(setting)
            try:
                is_open = self.keys.is_open(key)
                OmegaConf.update(config, key, value, merge=True, force_add=is_open)
            except (OmegaConfBaseException, RecursionError) as error:
                raise _unfit(setting, error) from error
        for setting in settings:
            if "${" in setting.word.text or "???" in setting.word.text:
                _resolve(config, self.keys.place(setting)[0], setting)
        return self._resolved(config)

    def _resolved(self, config: DictConfig) -> dict[str, Any]:
        try:
            plain = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
        except OmegaConfBaseException as error:
            raise LabError(f"{error.full_key}: {_reason(error)}; {self.presets()}") from error
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


_NOT_COMPOSED = (HydraException, OmegaConfBaseException, YAMLError, OSError, ValueError)
"""What Hydra and OmegaConf raise at a preset that cannot be read, or does not fit."""
_kept: dict[tuple[int, *tuple[str, ...]], Composition] = {}
_groups: dict[int, tuple[PluginInfo, dict[str, list[str]]]] = {}
"""Plugins by their identity, and their preset groups."""


def composed(info: PluginInfo, words: Sequence[Word]) -> tuple[Composition, list[Word]]:
    """The composition that the words choose, and the other words, which set values."""
    if id(info) not in _groups:
        refuse_missing_choices(info)
        _groups[id(info)] = info, preset_groups(info)
    groups = _groups[id(info)][1]
    picks = _picks(words, {"plugin", *groups, *KINDS})
    own = user_defaults.current().words
    chosen = (f"{name}={word.text}" for name, word in picks.items())
    key = (id(info), *chosen, "", *(word.word for word in own))
    if key not in _kept:
        while len(_kept) >= MOST_KEPT:
            del _kept[next(iter(_kept))]
        _kept[key] = _composition(info, picks, groups)
    return _kept[key], [word for word in words if word.key not in picks]


def _composition(
    info: PluginInfo, picks: Mapping[str, Word], groups: Mapping[str, list[str]]
) -> Composition:
    components = register(info, picks)
    chosen = [choice(info, n, w, groups, components) for n, w in picks.items() if n != "plugin"]
    try:
        return Composition(info, components, tuple(groups), *_hydra(chosen))
    except LabError as error:
        names = {name: word.text for name, word in picks.items()}
        raise blamed(info, names, error) from error


def _picks(words: Sequence[Word], choosing: Iterable[str]) -> dict[str, Word]:
    """The words that choose the plugin, presets and components, by what they choose."""
    picks: dict[str, Word] = {}
    for word in words:
        if word.key in choosing:
            if word.key in picks:
                raise set_twice(word.key, picks[word.key], word)
            picks[word.key] = word
    return picks


def _hydra(overrides: Sequence[str]) -> tuple[DictConfig, dict[str, str]]:
    """What the presets and components say, and which of them were chosen."""
    GlobalHydra.instance().clear()
    try:
        # that module holds no preset
        with initialize_config_module("labrun.config", version_base="1.3"), only_composing():
            config = hydra_compose(ROOT, list(overrides), return_hydra_config=True)
    except _NOT_COMPOSED as error:
        cause = f": {error.__cause__}" if error.__cause__ else ""
        text = " ".join(f"{error}{cause}".split())
        raise LabError(f"cannot compose the configuration: {text}") from error
    with open_dict(config):
        chosen = config.pop("hydra").runtime.choices
    return config, {str(k): str(v) for k, v in chosen.items() if not str(k).startswith("hydra/")}


def sections_of(plain: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Section name -> values: trainer, dataset, and evaluator.NAME for each evaluator."""
    sections = {kind: plain[kind] for kind in KINDS if kind != "evaluator"}
    sections |= {f"evaluator.{name}": values for name, values in plain["evaluator"].items()}
    for name, values in sections.items():
        if not isinstance(values, Mapping) or "component" not in values:
            raise LabError(f"{name}={json.dumps(values)}: it holds keys and cannot be set whole")
    return sections


def _interpolated(value: Any) -> list[str]:
    """The texts in it that hold an interpolation."""
    if isinstance(value, Mapping):
        return [text for item in value.values() for text in _interpolated(item)]
    if isinstance(value, list):
        return [text for item in value for text in _interpolated(item)]
    return [value] if isinstance(value, str) and "${" in value else []


def _reader(texts: Iterable[str]) -> Callable[[str], bool]:
    """Whether one of the texts may read a key; where what they read cannot be told, they may."""
    reads: list[str] = []
    for text in texts:
        calls, found = _CALLS.findall(text), _READS.findall(text)
        if any(name != "by" for name in calls) or len(calls) + len(found) < text.count("${"):
            return lambda key: True
        reads += (read.lstrip(".") for read in found)  # a relative one may mean any key's end
    return lambda key: any(
        f".{read}." in f".{key}." or read.startswith(f"{key}.") or "[" in read or not read
        for read in reads
    )


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, bool | int | float | str)


def _at(plain: Mapping[str, Any], key: str) -> Any:
    return functools.reduce(lambda values, part: values[part], key.split("."), plain)


def _put(plain: dict[str, Any], setting: Setting) -> None:
    *parents, name = setting.key.split(".")
    value = list(setting.value) if isinstance(setting.value, tuple) else setting.value
    functools.reduce(lambda values, part: values[part], parents, plain)[name] = value


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


def _kind(section: str) -> Kind:
    kind = section.split(".", 1)[0]
    assert kind in KINDS
    return kind

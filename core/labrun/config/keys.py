"""The keys of one configuration: which there are, their types, and which one a word means."""

import dataclasses
import difflib
import functools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from labrun.config.values import fields_of, is_mapping_type, options, read, value_type
from labrun.config.words import Word
from labrun.contract import Component, PluginInfo
from labrun.errors import LONGEST_NAME, MOST_NAMES, LabError, listed, shown
from labrun.experiment import RunConfig
from labrun.plain import flat
from labrun.plugins import discovery as plugins
from labrun.plugins.building import config_class

PLAIN_SLIP = 0.85
"""Likeness from which one near key is named alone."""


@dataclasses.dataclass(frozen=True)
class Setting:
    """One word of the command line as a value at its full key."""

    word: Word
    key: str
    value: Any

    def leaves(self) -> list[str]:
        """The full keys that it sets."""
        if isinstance(self.value, Mapping):
            return [f"{self.key}.{name}" for name, _ in flat(self.value)]
        return [self.key]


@dataclasses.dataclass(frozen=True)
class Keys:
    """The keys that a configuration has: its leaves, the mappings open to new keys, and the config
    class of each section. `others` are words that choose presets and components."""

    leaves: tuple[str, ...]
    sections: Mapping[str, type[Any]]
    others: tuple[str, ...]
    info: PluginInfo

    @functools.cached_property
    def open(self) -> list[str]:
        return [
            f"{section}.{name}"
            for section, schema in self.sections.items()
            for name, hint in fields_of(schema).items()
            if is_mapping_type(hint)
        ]

    def setting(self, word: Word) -> Setting:
        """The word's value at its full key; a bare key is found where it is unique."""
        key = self._full(word)
        return Setting(word, key, read(word.text, self._hint(key), key=key))

    def place(self, setting: Setting) -> tuple[str, Any]:
        """The key at which the configuration is updated, and with what: a new key of an open
        mapping may hold any character, so that it goes in as part of the mapping."""
        for name in self.open:
            if setting.key.startswith(name + "."):
                parts = self._new_parts(name, setting.key[len(name) + 1 :])
                return name, functools.reduce(
                    lambda inner, part: {part: inner}, parts[::-1], setting.value
                )
        return setting.key, setting.value

    def _new_parts(self, name: str, rest: str) -> list[str]:
        """The parts of a key inside an open mapping; one part where its values hold no keys."""
        kinds = options(value_type(self._hint(name)))
        nested = Any in kinds or any(fields_of(k) or is_mapping_type(k) for k in kinds)
        return rest.split(".") if nested else [rest]

    def is_open(self, key: str) -> bool:
        """Whether the key is, or lies in, a mapping that takes new keys."""
        return any(key == name or key.startswith(name + ".") for name in self.open)

    def _full(self, word: Word) -> str:
        key = word.key
        if "" in key.split("."):
            raise LabError(f"no key '{shown(key)}'; a dot stands between two names")
        if self.is_open(key) or key in self.leaves:
            return key
        if any(leaf.startswith(key + ".") for leaf in self.leaves):
            return key
        homes = sorted({m for leaf in self.leaves if (m := _match(leaf, key))})
        if len(homes) == 1:
            return homes[0]
        if homes:
            shortest = sorted(homes, key=len)[:MOST_NAMES] if len(homes) > MOST_NAMES else homes
            raise LabError(f"key {key!r} is ambiguous; write {' or '.join(shortest)}")
        if "@" in key:
            raise LabError(
                f"'{word}': '@' is refused; write the key as `lab plugins NAME` shows it"
            )
        raise LabError(f"no key '{shown(key)}'; {self._owners(key) or self._nearest(key)}")

    def _hint(self, key: str) -> Any:
        """The type that the key has; Any where no config class knows it."""
        for section, schema in self.sections.items():
            if key == section or key.startswith(section + "."):
                return _type_at(schema, key[len(section) + 1 :].split("."))
        return _type_at(RunConfig, key.split("."))

    def _owners(self, key: str) -> str:
        """The components that have the key and were not chosen; empty where there are none."""
        return " and ".join(f"{name} has {full}" for name, full in owners(key, self.info)[:3])

    def _nearest(self, key: str) -> str:
        ends = {leaf[at:]: leaf for leaf in self.leaves for at in _ends(leaf)}
        names = ends | {name: name for name in [*self.leaves, *self.others]}
        key = key[:LONGEST_NAME]
        near = difflib.get_close_matches(key, names, n=3, cutoff=0.6)
        if near and difflib.SequenceMatcher(a=near[0], b=key).ratio() >= PLAIN_SLIP:
            near = near[:1]
        if near:
            return f"did you mean {' or '.join(dict.fromkeys(names[n] for n in near))}?"
        few = listed(self.leaves, near=key)
        is_cut = len(self.leaves) > MOST_NAMES
        return f"keys: {few}" + (f"; `lab plugins {self.info.name}` lists all" if is_cut else "")


def refuse_twice(settings: Sequence[Setting]) -> None:
    """Raises LabError where two words set the same key, whichever way it is written."""
    seen: dict[str, Setting] = {}
    for setting in settings:
        for leaf in setting.leaves():
            for other, earlier in seen.items():
                if f"{leaf}.".startswith(f"{other}.") or f"{other}.".startswith(f"{leaf}."):
                    raise set_twice(min(leaf, other, key=len), earlier.word, setting.word)
        seen |= dict.fromkeys(setting.leaves(), setting)


def set_twice(key: str, one: Word, other: Word) -> LabError:
    return LabError(f"{shown(key)} is set twice: {one} and {other}; keep one")


def owners(key: str, info: PluginInfo) -> list[tuple[str, str]]:
    """(`dataset=llm.rows`, `dataset.path`) for each component that has the key: those of the plugin
    and of its defaults, or where none of them has it, those of every plugin."""
    for group in (_near(info), plugins.usable()):
        homes = [
            (f"{component.kind}={_name(component, owner, info)}", full)
            for owner in group
            for component in owner.components
            for full, _ in _component_keys(owner, component)
            if f".{full}".endswith(f".{key}") or (full.endswith(".*") and key.startswith(full[:-1]))
        ]
        if homes:
            return [(name, full.removesuffix(".*")) for name, full in homes]
    return []


def _near(info: PluginInfo) -> list[PluginInfo]:
    """The plugin and those of its default components that can be used."""
    near = [info]
    for name in dict.fromkeys(n.split(".", 1)[0] for n in info.defaults.values() if "." in n):
        with suppress(LabError):  # it is named where the default is asked for
            near.append(plugins.load(name))
    return near


def known_keys(info: PluginInfo, *, everywhere: bool) -> dict[str, Any]:
    """Every key that a preset may set with its type, in order: those of every run, then those of
    the components of the plugin and its defaults, or of every plugin; `NAME.*` stands for an open
    mapping."""
    group = [*plugins.usable()] if everywhere else _near(info)
    components = [(owner, component) for owner in group for component in owner.components]
    own = [key for owner, component in components for key in _component_keys(owner, component)]
    return dict([*fields_at(RunConfig), *own])


def _component_keys(owner: PluginInfo, component: Component) -> Iterator[tuple[str, Any]]:
    """Every key of a component, in full, with its type: `dataset.path`,
    `evaluator.accuracy.num_samples`, `dataset.evaluation.*` for a mapping that takes new keys."""
    kind = component.kind
    prefix = f"{kind}.{component.name}." if kind == "evaluator" else f"{kind}."
    try:
        schema = config_class(owner.name, component)
    except LabError:  # it is named when somebody chooses it
        return iter(())
    return fields_at(schema, prefix)


def fields_at(schema: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every key of the config class with its type; `NAME.*` stands for an open mapping."""
    for name, hint in fields_of(schema).items():
        if dataclasses.is_dataclass(hint):
            yield from fields_at(hint, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", hint
            if is_mapping_type(hint):
                yield f"{prefix}{name}.*", value_type(hint)


def _name(component: Component, owner: PluginInfo, home: PluginInfo) -> str:
    return component.name if owner.name == home.name else f"{owner.name}.{component.name}"


def _type_at(hint: Any, path: Sequence[str]) -> Any:
    if not path or path == [""]:
        return hint
    for kind in options(hint):
        if path[0] in (fields := fields_of(kind)):
            return _type_at(fields[path[0]], path[1:])
        if is_mapping_type(kind):
            return _type_at(value_type(kind), path[1:])
    return Any


def _ends(leaf: str) -> list[int]:
    """Where the ends of a dotted key begin: `trainer.model.name`, `model.name`, `name`."""
    return [0, *(at + 1 for at, character in enumerate(leaf) if character == ".")]


def _match(leaf: str, key: str) -> str | None:
    """The prefix of `leaf` that ends in `key`, if any: `model.name` -> `trainer.model.name`."""
    if leaf.endswith("." + key):
        return leaf
    inner = leaf.find(f".{key}.")
    return leaf[: inner + 1 + len(key)] if inner >= 0 else None

"""The presets and keys of a plugin; type, default and meaning are those of its config classes."""

import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from itertools import groupby
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

from labrun.config.meanings import field_meanings
from labrun.config.presets import presets
from labrun.experiment import RunConfig
from labrun.plugins import discovery as plugins
from labrun.plugins.building import config_class

RUN = "run"
NAMES = {int: "integer", float: "number", str: "text", bool: "`true` or `false`", Any: "any value"}
SIGNS = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤"}


class Key(NamedTuple):
    name: str
    type: str
    default: str
    meaning: str


def page(plugin: str) -> str:
    """Markdown of the plugin's presets and its components' keys; of `run`, the keys of all runs."""
    found = [_section(title, about, keys) for title, about, keys in sections(plugin)]
    return "\n".join(found if plugin == RUN else [*_presets(plugin), *found])


def sections(plugin: str) -> Iterator[tuple[str, str, list[Key]]]:
    """(title, what it is, its keys) of each component of the plugin; of `run`, of every run."""
    if plugin == RUN:
        yield "Keys", "", [*keys_of(RunConfig)]
        return
    for component in plugins.load(plugin).components:
        name = f"{component.name}." if component.kind == "evaluator" else ""
        keys = keys_of(config_class(plugin, component), f"{component.kind}.{name}")
        yield f"{component.kind}={plugin}.{component.name}", component.summary, [*keys]


def keys_of(cls: type[Any], prefix: str = "") -> Iterator[Key]:
    """Every key of a config class."""
    meanings, hints = field_meanings(cls), get_type_hints(cls, include_extras=True)
    config = cls()
    for field in fields(cls):
        name, value = f"{prefix}{field.name}", getattr(config, field.name)
        if is_dataclass(value):
            yield from keys_of(type(value), f"{name}.")
        else:
            meaning = meanings.get(field.name, "")
            yield Key(name, words(hints[field.name]), typed(value), meaning)


def words(hint: Any) -> str:
    """A type in words, with its range: `number > 0`, `grpo, dapo or null`."""
    kind, arguments = get_origin(hint), get_args(hint)
    if kind is Annotated:
        return " ".join([words(arguments[0]), _range(arguments[1:])]).strip()
    if kind is Literal:
        return _or([f"`{choice}`" for choice in arguments])
    if kind in (Union, UnionType):
        return _or([words(option) for option in arguments])
    if kind is tuple:
        return f"list of {words(arguments[0])}"
    if kind is not None:
        return f"mapping to {words(arguments[-1])}"
    if is_dataclass(hint):
        return "mapping with " + ", ".join(f"`{field.name}`" for field in fields(hint))
    return "`null`" if hint is NoneType else NAMES[hint]


def _range(limits: tuple[Any, ...]) -> str:
    found = [(sign, getattr(limit, name, None)) for limit in limits for name, sign in SIGNS.items()]
    return ", ".join(f"{sign} {bound}" for sign, bound in found if bound is not None)


def _or(options: list[str]) -> str:
    return " or ".join([", ".join(options[:-1]), options[-1]] if options[1:] else options)


def typed(value: Any) -> str:
    """A value as it is typed on the command line."""
    match value:
        case None | bool():
            return {None: "null", True: "true", False: "false"}[value]
        case list() | tuple():
            return f"[{','.join(map(typed, value))}]"
        case dict():
            return "{" + ", ".join(f"{key}: {typed(item)}" for key, item in value.items()) + "}"
    return str(value).replace("\n", "\\n") or "''"


def _presets(plugin: str) -> Iterator[str]:
    info = plugins.load(plugin)
    chosen = info.groups.items()
    found = presets(info).values()
    if not found:
        return
    yield "## Presets\n"
    for group, members in groupby(found, key=lambda preset: preset.group):
        yield f"### {group}\n"
        for preset in members:
            default = " (default)" if (group, preset.name) in chosen else ""
            yield f"`{group}={preset.name}`{default}\n: {_plain(preset.about())}\n"


def _section(title: str, about: str, keys: list[Key]) -> str:
    lines = [f"## {title}", "", about, ""]
    for key in keys:
        anchor = re.sub(r"\W+", "-", f"{title} {key.name}").lower()
        lines += [
            f"[`{key.name}`]{{#{anchor}}}",
            f": {key.type}. Default: `{key.default.strip() or 'a space'}`.\\",
            f"  {_plain(key.meaning)}",
            "",
        ]
    return "\n".join(lines)


def _plain(text: str) -> str:
    r"""Prose whose `*`, `_`, `$` and `\` outside of code mean themselves in Markdown."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(
        part if part[:1] == "`" else re.sub(r"([*_$\\<{[])", r"\\\1", part) for part in parts
    )

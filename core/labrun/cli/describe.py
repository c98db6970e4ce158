"""`lab plugins NAME`: a plugin's presets, components and every key with its meaning."""

import textwrap
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from itertools import groupby
from typing import Any

from rich.console import Console

from labrun.config.authorship import default_of
from labrun.config.meanings import field_meanings
from labrun.config.presets import presets
from labrun.contract import Component, PluginInfo
from labrun.errors import LabError, shown
from labrun.experiment import RunConfig
from labrun.plugins import discovery as plugins
from labrun.plugins.building import config_class


def print_plugin(name: str, console: Console, *, only: str = "") -> None:
    """Print the plugin's presets, components and keys; with `only`, the lines that name it.

    Raises LabError where nothing names it.
    """
    info = plugins.load(name)
    console.print(f"{info.name}: {info.summary}", soft_wrap=True)
    printed = _print_presets(info, console, only=only)
    if not only:
        console.print(f"defaults: {', '.join(f'{k}={v}' for k, v in info.defaults.items())}")
    for title, cls, prefix in _sections(info):
        printed = _print_keys(title, cls, prefix, console, only=only) or printed
    if not printed:
        raise LabError(
            f"no key or preset of plugin {name!r} holds {shown(only)!r}; `lab plugins {name}` "
            "lists all"
        )


def _print_presets(info: PluginInfo, console: Console, *, only: str) -> bool:
    """Print the presets, one a line, by group; whether there were any."""
    chosen = {group: f"{group}={choice}" for group, choice in info.groups.items()}
    known = {f"{preset.group}={preset.name}": preset for preset in presets(info).values()}
    known = {word: preset for word, preset in known.items() if only in word}
    marked = {word: f"{word} (default)" if word in chosen.values() else word for word in known}
    width = max(map(len, marked.values()), default=0)
    for group, members in groupby(known, key=lambda word: known[word].group):
        console.print(f"\npresets of {group}", soft_wrap=True)
        for word in members:
            about = known[word].about()
            console.print(f"  {marked[word]:<{width}}  {about}", markup=False, soft_wrap=True)
    return bool(known)


def _sections(info: PluginInfo) -> Iterator[tuple[str, type[Any], str]]:
    """(title, config class, beginning of its keys) of every run, of the plugin's components, and of
    its defaults that are another plugin's."""
    yield "every run", RunConfig, ""
    for component in info.components:
        title = f"{component.kind}={component.name}  {component.summary}".rstrip()
        yield title, config_class(info.name, component), _prefix(component)
    for kind, default in info.defaults.items():
        if "." in default:
            qualified, component = default_of(info, kind)  # pyrefly: ignore[bad-argument-type]
            cls = config_class(qualified.partition(".")[0], component)
            yield f"{kind}={default}", cls, _prefix(component)


def _prefix(component: Component) -> str:
    name = f"{component.name}." if component.kind == "evaluator" else ""
    return f"{component.kind}.{name}"


def _print_keys(title: str, cls: type[Any], prefix: str, console: Console, *, only: str) -> bool:
    """Print the keys with their meanings; whether there were any."""
    rows = [row for row in keys(cls(), prefix) if only in row[0]]
    if not rows and only:
        return False
    console.print(f"\n{title}", soft_wrap=True)
    for key, default, meaning in rows:
        console.print(f"  {key} = {default!r}", markup=False, soft_wrap=True)
        if meaning:
            text = textwrap.indent(textwrap.fill(meaning, 88), "      ")
            console.print(text, markup=False, soft_wrap=True)
    return True


def keys(config: Any, prefix: str = "") -> Iterator[tuple[str, Any, str]]:
    """(key, default, meaning) of every leaf of a config."""
    meanings = field_meanings(type(config))
    for f in fields(config):
        value = getattr(config, f.name)
        if is_dataclass(value):
            yield from keys(value, f"{prefix}{f.name}.")
        else:
            yield f"{prefix}{f.name}", value, meanings.get(f.name, "")

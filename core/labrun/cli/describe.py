"""`lab plugins NAME`: a plugin's presets, components and every key with its meaning."""

import textwrap
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from rich.console import Console

from labrun.config.authorship import default_of
from labrun.config.meanings import field_meanings
from labrun.config.presets import preset_groups
from labrun.contract import Component, PluginInfo
from labrun.experiment import RunConfig
from labrun.plugins import discovery as plugins
from labrun.plugins.building import config_class


def print_plugin(name: str, console: Console, *, only: str = "") -> None:
    """Print the plugin's presets, components and keys; of the keys, those that hold `only`."""
    info = plugins.load(name)
    console.print(f"{info.name}: {info.summary}", soft_wrap=True)
    for group, names in preset_groups(info).items():
        chosen = info.groups.get(group, "none")
        console.print(f"{group}= {', '.join(names)}   (default: {chosen})", soft_wrap=True)
    for title, cls, prefix in _sections(info):
        _print_keys(title, cls, prefix, console, only=only)
    console.print(f"defaults: {', '.join(f'{k}={v}' for k, v in info.defaults.items())}")
    for kind, default in info.defaults.items():
        if "." in default:  # another plugin's
            qualified, component = default_of(info, kind)  # pyright: ignore[reportArgumentType]
            cls = config_class(qualified.partition(".")[0], component)
            _print_keys(f"{kind}={default}", cls, _prefix(component), console, only=only)


def _sections(info: PluginInfo) -> Iterator[tuple[str, type[Any], str]]:
    """(title, config class, beginning of its keys) of every run and of the plugin's components."""
    yield "every run", RunConfig, ""
    for component in info.components:
        title = f"{component.kind}={component.name}  {component.summary}".rstrip()
        yield title, config_class(info.name, component), _prefix(component)


def _prefix(component: Component) -> str:
    name = f"{component.name}." if component.kind == "evaluator" else ""
    return f"{component.kind}.{name}"


def _print_keys(title: str, cls: type[Any], prefix: str, console: Console, *, only: str) -> None:
    rows = [row for row in keys(cls(), prefix) if only in row[0]]
    if not rows and only:
        return
    console.print(f"\n{title}", soft_wrap=True)
    for key, default, meaning in rows:
        console.print(f"  {key} = {default!r}", markup=False, soft_wrap=True)
        if meaning:
            text = textwrap.indent(textwrap.fill(meaning, 88), "      ")
            console.print(text, markup=False, soft_wrap=True)


def keys(config: Any, prefix: str = "") -> Iterator[tuple[str, Any, str]]:
    """(key, default, meaning) of every leaf of a config."""
    meanings = field_meanings(type(config))
    for f in fields(config):
        value = getattr(config, f.name)
        if is_dataclass(value):
            yield from keys(value, f"{prefix}{f.name}.")
        else:
            yield f"{prefix}{f.name}", value, meanings.get(f.name, "")

"""`lab plugins NAME`: a plugin's presets, components and every key with its meaning."""

import ast
import inspect
import textwrap
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from rich.console import Console

from labrun.config.experiments import preset_groups
from labrun.contract import PluginInfo
from labrun.experiment import RunConfig
from labrun.plugins import discovery as plugins


def print_plugin(name: str, console: Console) -> None:
    info = plugins.load(name)
    console.print(f"{info.name}: {info.summary}", soft_wrap=True)
    for group, names in preset_groups(info).items():
        chosen = info.groups.get(group, "none")
        console.print(f"{group}= {', '.join(names)}   (default: {chosen})", soft_wrap=True)
    _print_keys("every run", RunConfig, "", console)
    for component in info.components:
        title = f"{component.kind}={component.name}  {component.summary}".rstrip()
        prefix = f"{component.kind}."
        if component.kind == "evaluator":
            prefix += f"{component.name}."
        _print_keys(title, plugins.resolve(component.config), prefix, console)
    console.print(f"defaults: {', '.join(f'{k}={v}' for k, v in info.defaults.items())}")
    _print_default_components(info, console)


def _print_default_components(info: PluginInfo, console: Console) -> None:
    """The keys of default components that another plugin provides."""
    for kind, name in info.defaults.items():
        if "." in name:
            _, component = plugins.find(kind, name, info)  # pyright: ignore[reportArgumentType]
            prefix = f"{kind}." + (f"{component.name}." if kind == "evaluator" else "")
            _print_keys(f"{kind}={name}", plugins.resolve(component.config), prefix, console)


def _print_keys(title: str, cls: type[Any], prefix: str, console: Console) -> None:
    console.print(f"\n{title}", soft_wrap=True)
    for key, default, meaning in keys(cls(), prefix):
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


def field_meanings(cls: type[Any]) -> dict[str, str]:
    """Field -> the string written under it in the class body, bases included."""
    meanings: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if is_dataclass(base):
            meanings |= _meanings_in(base)
    return meanings


def _meanings_in(cls: type[Any]) -> dict[str, str]:
    body = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0]
    assert isinstance(body, ast.ClassDef)
    found = {}
    for field, text in zip(body.body, body.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            match text:
                case ast.Expr(value=ast.Constant(value=str(meaning))):
                    found[field.target.id] = " ".join(meaning.split())
    return found

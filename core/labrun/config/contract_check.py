"""What `lab plugins NAME --check` finds: whether a plugin keeps to the contract."""

import ast
import dataclasses
import inspect
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

from labrun.config.authorship import default_of, missing_choices, preset_flaws
from labrun.config.components import build
from labrun.config.experiments import compose
from labrun.config.meanings import field_meanings
from labrun.config.presets import Preset, hidden, package_folder, presets, unread
from labrun.config.typed_values import typed
from labrun.contract import KINDS, Component, PluginInfo
from labrun.errors import LabError
from labrun.plain import to_plain
from labrun.plugins import discovery
from labrun.plugins.building import built, config_class
from labrun.plugins.flaws import FlawError, place_of_module, place_of_object, place_of_text
from labrun.plugins.references import found

HEAVY = {"torch", "transformers", "trl", "mlflow", "datasets", "accelerate", "matplotlib"}
"""Packages that a description or a config module does not import: every command reads these."""


def faults(name: str) -> list[str]:
    """What is wrong in the plugin, one line each; none where it keeps to the contract."""
    before = {*sys.modules}
    try:
        info = discovery.load(name)
    except LabError as error:
        return [str(error)]
    module = discovery.module_of(name)
    lines = [*_heavy(module, before), *_description(info), *_components(info), *_presets(info)]
    if lines:
        return lines  # what follows needs all of that
    return [*_compositions(info), *_plan(info)]


def summary(name: str) -> str:
    """`NAME: 2 components, 3 presets: all well`, of a plugin without a fault."""
    info = discovery.load(name)
    components = _counted(len(info.components), "component")
    return f"{name}: {components}, {_counted(len(presets(info)), 'preset')}: all well"


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" + ("s" if number != 1 else "")


def _heavy(module: str, before: set[str]) -> Iterator[str]:
    """A line for each heavy package that came with the module and was not there before."""
    for package in sorted(({*sys.modules} - before) & HEAVY):
        place = _import_line(module, package) or place_of_module(module)
        text = f"{module} imports {package}; import it where it is used, inside a function"
        yield str(FlawError(text, place))


def _import_line(module: str, package: str) -> str:
    with suppress(OSError, TypeError):
        for node in ast.walk(ast.parse(inspect.getsource(sys.modules[module]))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if any(f"{name}.".startswith(f"{package}.") for name in names):
                return f"{place_of_module(module)}, line {node.lineno}"  # pyrefly: ignore[missing-attribute]
    return ""


def _description(info: PluginInfo) -> Iterator[str]:
    """Faults of what the plugin says of itself: summary, defaults, presets, figures."""
    module = discovery.module_of(info.name)
    if not info.summary.strip():
        yield str(FlawError("PluginInfo.summary is empty", place_of_module(module)))
    for kind in KINDS:
        yield from _lines_of(default_of, info, kind)
    for package in info.presets:
        yield from _lines_of(package_folder, info, package)
    named = [("PluginInfo.figures", reference) for reference in info.figures]
    for one in info.components:
        functions = (one.samples, one.shows, one.converts, one.records)
        named += [(f"{one.kind} {one.name!r}", reference) for reference in functions if reference]
    for owner, reference in named:
        try:
            function = found(reference, root=module.partition(".")[0])
        except FlawError as flaw:
            at = place_of_text(module, reference)
            yield f"{owner} names {reference}: {flaw}; it is written at {at}"
            continue
        if not callable(function):
            yield f"{owner} names {reference}, a {type(function).__name__}, no function"


def _lines_of(look: Any, *arguments: Any) -> list[str]:
    """The error of a call, as a line; none where it raises none."""
    try:
        look(*arguments)
    except LabError as error:
        return [str(error)]
    return []


def _components(info: PluginInfo) -> Iterator[str]:
    configs: list[tuple[Component, type[Any]]] = []
    for component in info.components:
        before = {*sys.modules}
        try:
            cls = config_class(info.name, component)
        except LabError as error:
            yield str(error)
            continue
        yield from _heavy(component.config.partition(":")[0], before)
        configs.append((component, cls))
    for component, cls in configs:  # factories may import heavy packages, configs come first
        faults = [*_config(component, cls)]
        yield from faults or _lines_of(built, info.name, component, cls())


def _config(component: Component, cls: type[Any]) -> Iterator[str]:
    title = f"config of {component.kind} {component.name!r}"
    if component.kind == "trainer" and "max_steps" not in cls.__dataclass_fields__:
        text = f"{title}: {cls.__name__} has no field max_steps, optimizer steps, 0 only evaluates"
        yield str(FlawError(text, place_of_object(cls)))
    for inner in schemas(cls):
        for name in without_meaning(inner):
            text = (
                f"{title}: {inner.__name__}.{name} has no meaning; write a string below the field"
            )
            yield str(FlawError(text, _line_of(inner, name)))
        for name in _without_type(inner):
            text = f"{title}: {inner.__name__}.{name} has no type, so that it is no key; write one"
            yield str(FlawError(text, _line_of(inner, name)))
    try:
        typed(cls, to_plain(cls()), section=component.kind)
    except LabError as error:
        yield str(FlawError(f"{title}: its default {error}", place_of_object(cls)))


def schemas(cls: type[Any]) -> list[type[Any]]:
    """The config class and those inside it."""
    inner = [type(v) for v in vars(cls()).values() if dataclasses.is_dataclass(v)]
    return [cls, *(deeper for one in inner for deeper in schemas(one))]


def without_meaning(cls: type[Any]) -> list[str]:
    """Fields under which no string says what they mean."""
    meanings = field_meanings(cls)
    return [field.name for field in dataclasses.fields(cls) if not meanings.get(field.name)]


def _without_type(cls: type[Any]) -> list[str]:
    """Plain values in the class's body without an annotation: they look like fields."""
    annotated = {name for base in cls.__mro__ for name in vars(base).get("__annotations__", {})}
    plain = bool | int | float | str | list | tuple | dict | None
    return [
        name
        for name, value in vars(cls).items()
        if not name.startswith("_") and name not in annotated and isinstance(value, plain)
    ]


def _line_of(cls: type[Any], name: str) -> str:
    for base in cls.__mro__:
        with suppress(OSError, TypeError):
            source, first = inspect.getsourcelines(base)
            for number, line in enumerate(source):
                if line.strip().startswith((f"{name}:", f"{name} :", f"{name} =", f"{name}=")):
                    return f"{inspect.getsourcefile(base)}, line {first + number}"
    return place_of_object(cls)


def _presets(info: PluginInfo) -> Iterator[str]:
    """Faults of the presets, each by itself; none where a package is not there."""
    try:
        known = presets(info)
        strays = [flaw for package in info.presets for flaw in unread(info, package)]
        strays += [*hidden(info), *missing_choices(info)]
    except LabError:
        return
    for flaw in strays:
        yield str(flaw)
    for preset in known.values():
        for flaw in preset_flaws(info, preset):
            yield f"preset {preset.group}={preset.name}: {flaw}"


def _compositions(info: PluginInfo) -> Iterator[str]:
    """A line for the defaults, and for each preset, that compose with no component it may have."""
    start = [f"plugin={info.name}"]
    if lines := _lines_of(compose, start):
        yield from lines
        return
    known = presets(info)
    for preset in known.values():
        first = _lines_of(compose, [*start, _word(preset)])
        if first and all(_lines_of(compose, [*start, *words]) for words in _beside(preset, info)):
            yield f"preset {_word(preset)} ({preset.place()}): {first[0]}"


def _word(preset: Preset) -> str:
    return f"{preset.group}={preset.name}"


def _beside(preset: Preset, info: PluginInfo) -> Iterator[Sequence[str]]:
    """The preset beside each preset of another group, and each of the plugin's own components."""
    for other in presets(info).values():
        if other.group != preset.group:
            yield [_word(preset), _word(other)]
    for component in info.components:
        if component.kind != preset.group:
            yield [_word(preset), f"{component.kind}={component.name}"]


def _plan(info: PluginInfo) -> list[str]:
    """Why the default run would be refused before it starts; nothing where it would not be."""
    try:
        experiment = compose([f"plugin={info.name}"])
        build(experiment).plan(experiment.run.resources)
    except LabError as error:
        return [f"the default run is refused: {error}"]
    return []

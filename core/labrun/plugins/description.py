"""A plugin's description as its module gives it, checked before anybody uses it."""

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import fields
from types import ModuleType
from typing import Any

from labrun.contract import API_VERSION, KINDS, Component, LabHooks, PluginInfo
from labrun.entry_points import GROUP
from labrun.errors import listed, nearest
from labrun.plain import flat, is_plain, to_plain
from labrun.plugins.flaws import (
    FlawError,
    place_of_entry,
    place_of_module,
    place_of_object,
    place_of_text,
)
from labrun.plugins.references import check_form

HOOK = "lab_plugin"
NAME = re.compile(r"\w[\w-]*")
SEQUENCES = ("components", "presets", "headline", "figures")


def described(module: ModuleType, name: str) -> PluginInfo:
    """What the module's hook `lab_plugin` returns.

    Raises FlawError, in one line with the place, where hook or description are not as they must be.
    """
    hook = _hook(module)
    info = hook()
    place = place_of_object(hook)
    if inspect.isgenerator(info) or inspect.iscoroutine(info):
        info.close()
    if not isinstance(info, PluginInfo):
        got = "None" if info is None else type(info).__name__
        raise FlawError(f"its {HOOK}() returns {got}; return a labrun.PluginInfo", place)
    if info.name != name:
        raise FlawError(
            f"entry point {name!r} describes itself as {info.name!r}; write one name in both",
            place_of_text(module.__name__, f'"{info.name}"', f"'{info.name}'"),
        )
    if info.api_version != API_VERSION:
        text = f"written for plugin API {info.api_version}, this labrun has {API_VERSION}"
        raise FlawError(text, place)
    _check(info, module.__name__, place)
    return info


def _hook(module: ModuleType) -> Callable[[], Any]:
    """The module's implementation of the hook."""
    functions = {n: f for n, f in vars(module).items() if inspect.isroutine(f)}
    marked = {n: f for n, f in functions.items() if hasattr(f, f"{GROUP}_impl")}
    names = {n: getattr(f, f"{GROUP}_impl").get("specname") or n for n, f in marked.items()}
    for name, implemented in names.items():
        if implemented != HOOK:
            near = nearest(implemented, _hooks())
            hint = f"did you mean {near!r}? " if near else ""
            text = f"unknown hook {implemented!r}; {hint}allowed: {', '.join(_hooks())}"
            raise FlawError(text, place_of_object(functions[name]))
    if len(marked) > 1:
        text = f"it implements the hook {HOOK}() twice: {' and '.join(marked)}; keep one"
        raise FlawError(text, place_of_object(marked[[*marked][-1]]))
    if not marked:
        raise _missing_hook(module, functions)
    hook = next(iter(marked.values()))
    if asked := inspect.signature(hook).parameters:
        text = f"{HOOK}() takes no argument, and asks for {', '.join(asked)}"
        raise FlawError(text, place_of_object(hook))
    return hook


def _hooks() -> list[str]:
    return [name for name in vars(LabHooks) if not name.startswith("_")]


def _missing_hook(module: ModuleType, functions: Mapping[str, Any]) -> FlawError:
    text = f"its module must implement the hook {HOOK}() with @labrun.hookimpl"
    own = {n: f for n, f in functions.items() if getattr(f, "__module__", "") == module.__name__}
    near = nearest(HOOK, own)
    if near == HOOK:
        marks = [name for name in vars(own[near]) if name.endswith(("_impl", "_spec"))]
        what = f"is marked with {marks[0]} of another project" if marks else "has no @hookimpl"
        if marks == [f"{GROUP}_spec"]:
            what = "is marked with @hookspec, which is for labrun itself"
        return FlawError(f"{text}; its {HOOK}() {what}", place_of_object(own[near]))
    if near:
        hint = f"; it has {near}(), did you mean {HOOK}?"
        return FlawError(f"{text}{hint}", place_of_object(own[near]))
    return FlawError(text, place_of_module(module.__name__))


def _check(info: PluginInfo, module: str, place: str) -> None:
    for name in SEQUENCES:
        _check_sequence(name, getattr(info, name), place)
    for name in ("defaults", "groups", "moved"):
        _check_mapping(name, getattr(info, name), place)
    _check_presets(info, module, place)
    _check_components(info, module, place)
    _check_kinds(info, module, place)
    for number, figure in enumerate(info.figures):
        _checked_form(figure, f"figures[{number}]", module, place)


def _check_sequence(name: str, value: Any, place: str) -> None:
    wanted = Component if name == "components" else str
    if isinstance(value, wanted) or not isinstance(value, list | tuple):
        shown = repr(value) if isinstance(value, str) else f"a {type(value).__name__}"
        comma = "; one entry needs a comma behind it: (...,)" if isinstance(value, wanted) else ""
        raise FlawError(f"PluginInfo.{name} is {shown}, no list or tuple{comma}", place)
    for number, item in enumerate(value):
        if not isinstance(item, wanted):
            got = f"a {type(item).__name__}"
            raise FlawError(f"PluginInfo.{name}[{number}] is {got}, no {wanted.__name__}", place)


def _check_mapping(name: str, value: Any, place: str) -> None:
    if not isinstance(value, Mapping):
        text = f"PluginInfo.{name} is a {type(value).__name__}, no mapping {{name: choice}}"
        raise FlawError(text, place)
    for key, item in value.items():
        if not isinstance(key, str) or not isinstance(item, str):
            raise FlawError(f"PluginInfo.{name}[{key!r}] is {item!r}; both are texts", place)


def _check_presets(info: PluginInfo, module: str, place: str) -> None:
    """The form of the presets that are declared in Python; their keys are looked at when chosen."""
    field, groups = "PluginInfo.presets_in_python", info.presets_in_python
    if not isinstance(groups, Mapping):
        text = f"{field} is a {type(groups).__name__}, no mapping {{group: {{name: values}}}}"
        raise FlawError(text, place)
    for group, names in groups.items():
        if not isinstance(names, Mapping):
            text = f"{field}[{group!r}] is a {type(names).__name__}, no mapping {{name: values}}"
            raise FlawError(text, place)
        for name, values in names.items():
            # a plugin's author may have written another kind of key
            where = place_of_entry(module, str(name)) or place  # pyrefly: ignore[unnecessary-type-conversion]
            title = f"preset {group}={name}"
            if not isinstance(name, str) or not NAME.fullmatch(name):
                text = f"{title}: a name is a text of letters, digits, _ and -"
                raise FlawError(text, where)
            if not isinstance(values, Mapping):
                got = type(values).__name__
                raise FlawError(
                    f"{title} is a {got}, no mapping {{section: {{key: value}}}}", where
                )
            for key, value in flat(to_plain(values)):
                if not is_plain(value):
                    text = f"{title}: {key} is of type {type(value).__name__}"
                    raise FlawError(f"{text}; write text, number, list or mapping", where)


def _check_components(info: PluginInfo, module: str, place: str) -> None:
    seen: set[tuple[str, str]] = set()
    for component in info.components:
        for field in fields(Component):
            value = getattr(component, field.name)
            if not isinstance(value, str) and field.name not in ("config", "factory"):
                raise FlawError(f"a component's {field.name} is {value!r}, no text", place)
        kind, name = component.kind, component.name
        where = place_of_text(module, f'name="{name}"', f"'{name}'", f'"{name}"')
        if kind not in KINDS:
            text = f"component {name!r} is of kind {kind!r}; {_allowed(kind, KINDS)}"
            raise FlawError(text, where)
        if not NAME.fullmatch(name):
            text = f"{kind} name {name!r}: a name has letters, digits, _ and - only"
            raise FlawError(text, where)
        if (kind, name) in seen:
            raise FlawError(f"{kind} {name!r} is offered twice; rename one", where)
        seen.add((kind, name))
        for field, value in (("config", component.config), ("factory", component.factory)):
            _checked_form(value, f"{field} of {kind} {name!r}", module, where)
        for field in ("samples", "shows", "converts", "records"):
            reference = getattr(component, field)
            if reference:
                _checked_form(reference, f"{field} of {kind} {name!r}", module, where)


def _checked_form(reference: Any, what: str, module: str, place: str) -> None:
    try:
        check_form(reference, what)
    except FlawError as flaw:
        where = place_of_text(module, reference) if isinstance(reference, str) else ""
        raise FlawError(str(flaw), where or place) from None


def _check_kinds(info: PluginInfo, module: str, place: str) -> None:
    """The keys of `defaults` are the kinds of components."""
    for kind in info.defaults:
        if kind not in KINDS:
            where = place_of_text(module, f'"{kind}"', f"'{kind}'") or place
            raise FlawError(f"PluginInfo.defaults names {kind!r}; {_allowed(kind, KINDS)}", where)
    if missing := [kind for kind in KINDS if kind not in info.defaults]:
        raise FlawError(f"PluginInfo.defaults names no {', no '.join(missing)}", place)


def _allowed(got: str, names: tuple[str, ...]) -> str:
    near = nearest(got, names)
    return f"{f'did you mean {near!r}? ' if near else ''}allowed: {listed(names)}"

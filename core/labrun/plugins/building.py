"""A component's config class, its instance and its plan, each checked as the contract has it."""

import dataclasses
import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any, get_type_hints

from labrun.contract import Component, Dataset, Evaluator, Kind, Trainer
from labrun.errors import LabError, nearest
from labrun.plain import is_plain, to_plain
from labrun.plan import Plan, Plans, Setup
from labrun.plugins import discovery, flaws
from labrun.plugins.flaws import FlawError, place_of_object, place_of_text
from labrun.plugins.references import found
from labrun.schema import STRICT

PROTOCOLS: dict[Kind, type[Any]] = {
    "trainer": Trainer,
    "dataset": Dataset,
    "evaluator": Evaluator,
}
BEFORE_PLAN: dict[Kind, Mapping[str, str]] = {
    "trainer": {
        "preflight": "return Plan(facts, missing)",
        "check_processes": "compare with setup.num_processes",
        "max_processes": "return Plan(max_processes=...)",
    },
    "dataset": {"preflight": "return Plan(facts, missing)"},
    "evaluator": {
        "preflight": "return Plan(facts, missing)",
        "check": "look at setup.dataset and setup.data",
        "check_policy": "look at setup.model and setup.data",
        "scores_like": "look at setup.evaluators",
    },
}
"""What nothing calls any more, and what `plan(setup)` does in its place."""


def config_class(owner: str, component: Component) -> type[Any]:
    """The component's config class. Raises LabError, in one line, where it is none."""
    title = f"{component.kind} {component.name!r}"
    try:
        cls = _referred(owner, component.config)
        if not isinstance(cls, type):
            name = getattr(cls, "__qualname__", repr(cls))
            text = (
                f"{name} is of type {type(cls).__name__}; a config is a class with @labrun.schema"
            )
            raise FlawError(text, place_of_object(cls))
        _check_schema(cls)
    except FlawError as flaw:
        raise discovery.broken_by(owner, f"config of {title}: {flaw}") from flaw
    return cls


def built(owner: str, component: Component, config: Any) -> Any:
    """What the component's factory makes of the config.

    Raises LabError, in one line, where it makes nothing that keeps to the contract.
    """
    title = f"{component.kind} {component.name!r}"
    try:
        factory = _referred(owner, component.factory)
        made = _made(factory, config, component.factory.partition(":")[0])
        _check_methods(made, component.kind)
    except FlawError as flaw:
        raise discovery.broken_by(owner, f"factory of {title}: {flaw}") from flaw
    return made


def _referred(owner: str, reference: str) -> Any:
    """The object of the reference, or the flaw with the line on which it is written."""
    module = discovery.module_of(owner)
    try:
        return found(reference, root=module.partition(".")[0])
    except FlawError as flaw:
        written = place_of_text(module, reference)
        at = f"; it is written at {written}" if written else ""
        raise FlawError(f"{reference}: {flaw}{at}") from flaw


@functools.cache
def _check_schema(cls: type[Any]) -> None:
    """Raises FlawError for what is no `@schema` dataclass with a plain default for each field."""
    place, name = functools.partial(place_of_object, cls), cls.__qualname__
    if vars(cls).get("__pydantic_config__") != STRICT:
        kind = "a dataclass" if dataclasses.is_dataclass(cls) else "a class"
        text = f"{name} is {kind} without @labrun.schema; write it above the class"
        raise FlawError(text, place())
    if without := [field.name for field in dataclasses.fields(cls) if not _has_default(field)]:
        raise FlawError(f"{name} has no default for {', '.join(without)}; give it one", place())
    if "component" in cls.__dataclass_fields__:
        raise FlawError(f"{name} has a field 'component', a name that labrun takes", place())
    try:
        get_type_hints(cls)
        config = cls()
    except KeyboardInterrupt:
        raise
    except BaseException as fault:  # a type that is not there, a check that fails, an exit
        raise FlawError(f"{name}: {flaws.cause(fault, cls.__module__)}", place()) from fault
    for key, value in vars(config).items():
        if dataclasses.is_dataclass(value):
            _check_schema(type(value))
        elif not is_plain(to_plain(value)):
            kind = type(value).__name__
            text = (
                f"{name}.{key}: its default is of type {kind}; write text, number, list or mapping"
            )
            raise FlawError(text, place())


def _has_default(field: dataclasses.Field[Any]) -> bool:
    missing = dataclasses.MISSING
    return field.default is not missing or field.default_factory is not missing


def function(reference: str, *arguments: str, **named: str) -> Callable[..., Any]:
    """The function `module:function` that a plugin names; it is called with these arguments.

    Raises LabError, in one line, where it is not there, or takes other arguments.
    """
    module, _, name = reference.partition(":")
    call = f"{name}({', '.join([*arguments, *named])})"
    try:
        called = found(reference, root=module.partition(".")[0])
        if not callable(called):
            text = f"it is of type {type(called).__name__}; write a function {call}"
            raise FlawError(text, flaws.place_of_module(module))
        try:
            inspect.signature(called).bind(*arguments, **named)
        except TypeError as fault:
            text = f"it is called as {call}: {fault}"
            raise FlawError(text, place_of_object(called)) from fault
    except FlawError as flaw:
        raise _broken(module, f"{reference}: {flaw}") from flaw
    return called


def _made(factory: Any, config: Any, module: str) -> Any:
    name = getattr(factory, "__qualname__", repr(factory))
    place = functools.partial(place_of_object, factory)
    if not callable(factory):
        text = f"{name} is of type {type(factory).__name__}, no class or function"
        raise FlawError(text, place() or flaws.place_of_module(module))
    try:
        inspect.signature(factory).bind(config)
    except TypeError as fault:
        text = f"{name} takes no config: it is called as {name}(config): {fault}"
        raise FlawError(text, place()) from fault
    except ValueError:  # a callable of C, which tells no signature
        pass
    try:
        made = factory(config)
    except (KeyboardInterrupt, LabError):
        raise
    except BaseException as fault:  # a factory may fail in any way, or exit
        raise FlawError(f"{name}: {flaws.cause(fault, module)}") from fault
    if made is None:
        raise FlawError(f"{name} returns None; return the component", place())
    return made


def methods(kind: Kind) -> Iterator[tuple[str, list[str]]]:
    """(name, arguments) of each method that a component of the kind must have."""
    for name, method in vars(PROTOCOLS[kind]).items():
        if inspect.isfunction(method) and not name.startswith("_"):
            yield name, [*inspect.signature(method).parameters][1:]


def _check_methods(made: Any, kind: Kind) -> None:
    owner = type(made).__name__
    for name, arguments in methods(kind):
        call = f"{name}({', '.join(arguments)})"
        if getattr(made, name, None) is None:
            names = [n for n in dir(made) if not n.startswith("_")]
            near = nearest(name, {*names} - {other for other, _ in methods(kind)})
            hint = f"; it has {near!r}, did you mean {name!r}?" if near else ""
            raise FlawError(f"{owner} has no method {call}{hint}", place_of_object(type(made)))
        _check_call(made, name, arguments)
    _check_plan(made, kind)


def _check_call(made: Any, name: str, arguments: list[str]) -> None:
    """Raises FlawError where the component's attribute is no method that takes these arguments."""
    owner, method = type(made).__name__, getattr(made, name)
    call = f"{name}({', '.join(arguments)})"
    if not callable(method):
        text = f"{owner}.{name} is of type {type(method).__name__}, no method {call}"
        raise FlawError(text, place_of_object(type(made)))
    try:
        inspect.signature(method).bind(*arguments)
    except TypeError as fault:
        text = f"{owner}.{name} is called as {call}: {fault}"
        raise FlawError(text, place_of_object(method) or place_of_object(type(made))) from fault


def _check_plan(made: Any, kind: Kind) -> None:
    """Raises FlawError for a `plan` that is misspelt or cannot be called, and for what was once in
    its place."""
    owner = type(made).__name__
    for name, instead in BEFORE_PLAN[kind].items():
        if hasattr(made, name):
            place = place_of_object(getattr(made, name)) or place_of_object(type(made))
            text = f"{owner}.{name} is not called any more; write plan(setup) and {instead} in it"
            raise FlawError(text, place)
    if hasattr(made, "plan"):
        _check_call(made, "plan", ["setup"])
        return
    for name in (n for n in dir(made) if not n.startswith("_") and nearest("plan", [n])):
        method = getattr(made, name)
        if inspect.ismethod(method) and [*inspect.signature(method).parameters] == ["setup"]:
            text = f"{owner}.{name}(setup) is not called; did you mean 'plan'?"
            raise FlawError(text, place_of_object(method))


def planned(section: str, component: Any, setup: Setup) -> Plan:
    """What the component says of the run before it starts; an empty plan where it has none.

    Raises LabError, in one line, where its code fails or it returns something else.
    """
    if not isinstance(component, Plans):
        return Plan()
    name = getattr(component.plan, "__qualname__", repr(component.plan))
    module = getattr(component.plan, "__module__", "")
    try:
        plan: Any = component.plan(setup)
    except (KeyboardInterrupt, LabError):
        raise
    except BaseException as fault:  # a plan may fail in any way, or exit
        raise _broken(module, f"{section}: {name}: {flaws.cause(fault, module)}") from fault
    if flaw := _flaw_of(plan):
        text = f"{section}: {name}() {flaw}"
        raise _broken(module, str(FlawError(text, place_of_object(component.plan))))
    return plan


def _flaw_of(plan: Any) -> str:
    """What is wrong in what a component's `plan` returned; empty where it is a plan."""
    if not isinstance(plan, Plan):
        got = "None" if plan is None else f"a {type(plan).__name__}"
        return f"returns {got}; return labrun.Plan(facts), Plan() for nothing to say"
    if not isinstance(plan.facts, Mapping):
        return f"returns a Plan whose facts are a {type(plan.facts).__name__}; give facts by name"
    if not isinstance(plan.missing, list | tuple):
        return f"returns a Plan whose missing is {plan.missing!r}, no list of texts"
    if not isinstance(plan.unused, Mapping):
        return f"returns a Plan whose unused is {plan.unused!r}; give reasons by key"
    if "missing" in plan.facts:
        return "returns a Plan with a fact 'missing'; write Plan(facts, missing=[...])"
    return ""


def _broken(module: str, reason: str) -> LabError:
    """The error for code of the module, with the plugin that it belongs to where that is known."""
    root = module.partition(".")[0]
    for claims in discovery.installed().values():
        if claims[0].module.partition(".")[0] == root:
            return discovery.not_usable(claims[0], reason)
    return LabError(f"a plugin is broken: {reason}; mend it")

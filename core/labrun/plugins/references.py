"""The objects that a plugin names as `module:object`."""

import importlib
import re
from typing import Any

from labrun.errors import LabError
from labrun.plugins import flaws
from labrun.plugins.flaws import FlawError

_REFERENCE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")


def check_form(reference: Any, what: str) -> None:
    """Raises FlawError for what is no text `module:object`; `what` names it in the message."""
    if isinstance(reference, str) and _REFERENCE.fullmatch(reference):
        return
    if not isinstance(reference, str):
        kind = "class" if isinstance(reference, type) else type(reference).__name__
        module = getattr(reference, "__module__", None) or "module"
        text = f"{module}:{getattr(reference, '__qualname__', 'object')}"
        raise FlawError(f"{what} is a {kind}; write it as a text, {text!r}")
    parts = [part for part in re.split(r"[.:/\s]+", reference.removesuffix(".py")) if part]
    guess = f"{'.'.join(parts[:-1])}:{parts[-1]}" if len(parts) > 1 else "module:object"
    is_guess = len(parts) > 1 and _REFERENCE.fullmatch(guess)
    hint = f"did you mean {guess!r}?" if is_guess else "write 'module:object'"
    raise FlawError(f"{what} is {reference!r} and no module:object; {hint}")


def found(reference: str, *, root: str = "") -> Any:
    """The object named by `module:object`; its module is imported.

    Raises FlawError, with the nearest names, where it is not there or its import fails. `root` is
    the plugin's own package, for the nearest name.
    """
    check_form(reference, "the reference")
    name, _, attribute = reference.partition(":")
    try:
        module = importlib.import_module(name)
    except (KeyboardInterrupt, LabError):
        raise
    except ModuleNotFoundError as fault:
        if fault.name and f"{name}.".startswith(f"{fault.name}."):
            hint = flaws.near_module(fault.name, root=root)
            raise FlawError(f"ModuleNotFoundError: No module named {fault.name!r}{hint}") from fault
        raise FlawError(flaws.cause(fault, name)) from fault
    except BaseException as fault:  # a module may fail in any way, or exit; it is named, not hidden
        raise FlawError(flaws.cause(fault, name)) from fault
    if not hasattr(module, attribute):
        hint = flaws.near_object(attribute, module)
        text = f"AttributeError: {name} has no {attribute!r}{hint}"
        raise FlawError(text, flaws.place_of_module(name))
    return getattr(module, attribute)


def resolve(reference: str) -> Any:
    """The object named by `module:object`.

    Raises LabError where its module cannot be imported, or ends the process.
    """
    try:
        return found(reference)
    except FlawError as flaw:
        module = reference.partition(":")[0]
        shows = f"; mend it, `python -c 'import {module}'` shows where"
        raise LabError(f"a plugin's {reference} cannot be loaded: {flaw}{shows}") from flaw


def package(name: str, *, root: str = "") -> Any:
    """The package of that name. Raises FlawError where it is not there, or is none."""
    try:
        module = importlib.import_module(name)
    except KeyboardInterrupt:
        raise
    except ModuleNotFoundError as fault:
        hint = flaws.near_module(fault.name or name, root=root)
        raise FlawError(f"no package {fault.name!r}{hint}") from fault
    except BaseException as fault:  # as in `found`
        raise FlawError(flaws.cause(fault, name)) from fault
    place = flaws.place_of_module(name)
    if not hasattr(module, "__path__"):
        raise FlawError(f"{name} is a module; presets lie in a package, a folder", place)
    if not place:
        folder = next(iter(module.__path__))
        raise FlawError("the folder has no __init__.py, without which it is not read", folder)
    return module

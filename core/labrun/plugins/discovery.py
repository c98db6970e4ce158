"""Discovery: a plugin's module is imported only when it is asked for."""

import functools
import importlib
from collections.abc import Iterator

from labrun.contract import Component, Kind, PluginInfo
from labrun.entry_points import GROUP
from labrun.errors import LabError, unknown
from labrun.plugins import flaws
from labrun.plugins.claims import Installed, installed
from labrun.plugins.description import NAME, described
from labrun.plugins.flaws import FlawError
from labrun.plugins.references import resolve

__all__ = ["Installed", "broken", "find", "installed", "load", "resolve", "usable"]


_claims: dict[str, Installed] = {}
"""The entry point of each plugin that was asked for; to read all of them takes tens of ms."""


@functools.cache
def load(name: str) -> PluginInfo:
    """The plugin's description; imports its module.

    Raises LabError for a name that is not installed, claimed twice, or whose module is broken.
    """
    claims = installed()
    if name not in claims:
        raise unknown("plugin", name, claims)
    if len(claims[name]) > 1:
        raise _claimed_twice(name, claims[name])
    claim = _claims[name] = claims[name][0]
    try:
        return _read(claim)
    except KeyboardInterrupt:
        raise
    except FlawError as flaw:
        raise not_usable(claim, str(flaw)) from flaw
    except BaseException as fault:  # a module may fail in any way, or exit; it is named, not hidden
        reason = flaws.cause(fault, claim.module, known=(PluginInfo, Component))
        raise not_usable(claim, reason) from fault


def _claimed_twice(name: str, claims: list[Installed]) -> LabError:
    distributions = {f"{c.distribution} {c.version}" for c in claims}
    if len(distributions) == 1:
        modules = " and ".join(c.module for c in claims)
        text = f"plugin {name!r} is claimed twice by {distributions.pop()}, as {modules}"
        return LabError(f"{text}; keep one of these entry points")
    owners = " and ".join(f"{c.distribution} {c.version}" for c in claims)
    return LabError(f"plugin {name!r} is claimed by {owners}; uninstall one of them")


def not_usable(claim: Installed, reason: str) -> LabError:
    """The error for a plugin that is installed and broken: which, why, and what to do."""
    return LabError(
        f"plugin {claim.name!r} ({claim.distribution} {claim.version}) is broken: {reason}; "
        f"mend it or `pip uninstall {claim.distribution}`"
    )


def _read(claim: Installed) -> PluginInfo:
    if not NAME.fullmatch(claim.name):
        raise FlawError(f"its name {claim.name!r}: a name has letters, digits, _ and - only")
    entry = f"entry point {claim.name} = {claim.module!r} in [project.entry-points.{GROUP}]"
    if ":" in claim.module or not claim.module:
        module = claim.module.partition(":")[0] or "package.plugin"
        raise FlawError(f"{entry} names no module; write {module!r}")
    try:
        module = importlib.import_module(claim.module)
    except ModuleNotFoundError as fault:
        if fault.name and f"{claim.module}.".startswith(f"{fault.name}."):
            hint = flaws.near_module(fault.name, root=claim.distribution.replace("-", "_"))
            text = f"ModuleNotFoundError: No module named {fault.name!r}{hint}"
            raise FlawError(f"{text}; it stands in {entry}") from fault
        raise
    return described(module, claim.name)


def module_of(name: str) -> str:
    """The module that describes a loaded plugin."""
    return _claims[name].module


def broken_by(owner: str, reason: object) -> LabError:
    """The error for a component or preset of a loaded plugin that cannot be used."""
    return not_usable(_claims[owner], str(reason))


def broken() -> dict[str, str]:
    """Every installed plugin that cannot be used, with the reason."""
    reasons = {}
    for name in installed():
        try:
            load(name)
        except LabError as error:
            reasons[name] = str(error)
    return reasons


def usable() -> Iterator[PluginInfo]:
    """Every installed plugin that can be used."""
    for name in installed():
        try:
            yield load(name)
        except LabError:
            continue


def find(kind: Kind, name: str, home: PluginInfo) -> tuple[str, Component]:
    """(qualified name, component) for `other.name`, or a bare name: the home plugin's first.

    Raises LabError where none or several plugins have it.
    """
    if "." in name:
        owner, bare = name.split(".", 1)
        return _own(kind, bare, load(owner))
    if any(c.kind == kind and c.name == name for c in home.components):
        return _own(kind, name, home)
    owners = [p for p in usable() if any(c.kind == kind and c.name == name for c in p.components)]
    if len(owners) == 1:
        return _own(kind, name, owners[0])
    if owners:
        choices = " or ".join(f"{kind}={p.name}.{name}" for p in owners)
        raise LabError(f"{kind} {name!r} is offered by several plugins; write {choices}")
    raise unknown(kind, name, component_names(kind, home))


def _own(kind: Kind, name: str, info: PluginInfo) -> tuple[str, Component]:
    for component in info.components:
        if component.kind == kind and component.name == name:
            return f"{info.name}.{name}", component
    if name in info.moved:
        owner, bare = info.moved[name].split(".", 1)
        return _own(kind, bare, load(owner))
    offered = [c.name for c in info.components if c.kind == kind]
    raise unknown(kind, name, offered, of=f"plugin {info.name!r}")


def component_names(kind: Kind, home: PluginInfo) -> list[str]:
    """The names a user may give for `kind`: bare for the home plugin, qualified for the others."""
    return [
        component.name if info.name == home.name else f"{info.name}.{component.name}"
        for info in usable()
        for component in info.components
        if component.kind == kind
    ]

"""Discovery: entry points are read at once, a plugin's module only when it is asked for."""

import functools
import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import pluggy

from labrun.contract import API_VERSION, GROUP, KINDS, Component, Kind, LabHooks, PluginInfo
from labrun.errors import LabError, shown, unknown


@dataclass(frozen=True)
class Installed:
    """One entry point of the group, from its distribution's metadata alone."""

    name: str
    module: str
    distribution: str
    version: str


def installed() -> dict[str, list[Installed]]:
    """Plugin name -> the distributions that claim it (more than one is a conflict)."""
    found: dict[str, list[Installed]] = {}
    for point in entry_points(group=GROUP):
        claim = _claim(point)
        claims = found.setdefault(point.name, [])
        if claim not in claims:
            claims.append(claim)
    return dict(sorted(found.items()))


def _claim(point: EntryPoint) -> Installed:
    dist = point.dist
    name, version = (dist.name, dist.version) if dist else ("unknown", "?")
    return Installed(point.name, point.value, name, version)


@functools.cache
def load(name: str) -> PluginInfo:
    """The plugin's description; imports its module.

    Raises LabError for a name that is not installed, claimed twice, or whose module is broken.
    """
    claims = installed()
    if name not in claims:
        raise unknown("plugin", name, claims)
    if len(claims[name]) > 1:
        owners = " and ".join(f"{c.distribution} {c.version}" for c in claims[name])
        raise LabError(f"plugin {name!r} is claimed by {owners}; uninstall one of them")
    claim = claims[name][0]
    try:
        return _read(claim)
    except KeyboardInterrupt:
        raise
    except BaseException as fault:  # a module may fail in any way, or exit; it is named, not hidden
        raise not_usable(claim, _reason(fault)) from fault


def not_usable(claim: Installed, reason: str) -> LabError:
    """The error for a plugin that is installed and broken: which, why, and what to do."""
    return LabError(
        f"plugin {claim.name!r} ({claim.distribution} {claim.version}) is broken: {reason}; "
        f"mend it or `pip uninstall {claim.distribution}`"
    )


def _reason(fault: BaseException) -> str:
    """What went wrong in a plugin's code, in one line."""
    if isinstance(fault, SystemExit):
        return f"SystemExit: its code calls sys.exit({fault.code!r})"
    text = " ".join(str(fault).split())
    return f"{type(fault).__name__}: {shown(text, limit=400)}" if text else type(fault).__name__


def _read(claim: Installed) -> PluginInfo:
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(LabHooks)
    manager.register(importlib.import_module(claim.module), claim.name)
    manager.check_pending()
    described = manager.hook.lab_plugin()
    if len(described) != 1:
        raise TypeError("its module must implement the hook lab_plugin() with @labrun.hookimpl")
    info = described[0]
    if info.name != claim.name:
        raise TypeError(f"entry point {claim.name!r} describes itself as {info.name!r}")
    if info.api_version != API_VERSION:
        raise TypeError(f"written for plugin API {info.api_version}, this labrun has {API_VERSION}")
    missing = [kind for kind in KINDS if kind not in info.defaults]
    if missing:
        raise TypeError(f"PluginInfo.defaults names no {', no '.join(missing)}")
    return info


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
    raise unknown(f"{kind} of plugin {info.name!r}", name, offered)


def component_names(kind: Kind, home: PluginInfo) -> list[str]:
    """The names a user may give for `kind`: bare for the home plugin, qualified for the others."""
    return [
        component.name if info.name == home.name else f"{info.name}.{component.name}"
        for info in usable()
        for component in info.components
        if component.kind == kind
    ]


def resolve(reference: str) -> Any:
    """The object named by `module:object`.

    Raises LabError where its module cannot be imported, or ends the process.
    """
    module, _, attribute = reference.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (KeyboardInterrupt, LabError):
        raise
    except BaseException as fault:  # as in `load`
        raise LabError(
            f"a plugin's {reference} cannot be loaded: {_reason(fault)}; mend it, "
            f"`python -c 'import {module}'` shows where"
        ) from fault

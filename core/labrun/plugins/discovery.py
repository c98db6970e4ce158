"""Discovery: entry points are read at once, a plugin's module only when it is asked for."""

import functools
import importlib
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution, EntryPoint, entry_points

from labrun.contract import GROUP, Component, Kind, PluginInfo
from labrun.errors import LabError, unknown
from labrun.plugins import flaws
from labrun.plugins.description import NAME, described
from labrun.plugins.flaws import FlawError
from labrun.plugins.references import resolve

__all__ = ["broken", "find", "installed", "load", "resolve", "usable"]


@dataclass(frozen=True)
class Installed:
    """One entry point of the group, from its distribution's metadata alone."""

    name: str
    module: str
    distribution: str
    version: str


def installed() -> dict[str, list[Installed]]:
    """Plugin name -> the distributions that claim it (more than one is a conflict)."""
    return dict(_installed(tuple((folder, _changed(folder)) for folder in sys.path)))


def _changed(folder: str) -> int:
    try:
        return os.stat(folder or ".").st_mtime_ns
    except OSError:
        return 0


@functools.lru_cache(maxsize=1)
def _installed(places: tuple[tuple[str, int], ...]) -> dict[str, list[Installed]]:
    """As `installed`, read again where a folder of `places` has changed."""
    found: dict[str, list[Installed]] = {}
    for point in entry_points(group=GROUP):
        claim = _claim(point)
        claims = found.setdefault(point.name, [])
        if claim not in claims:
            claims.append(claim)
    return dict(sorted(found.items()))


def _claim(point: EntryPoint) -> Installed:
    name, version = _owner(point.dist) if point.dist else ("unknown", "?")
    return Installed(point.name, point.value, name, version)


@functools.lru_cache(maxsize=16)
def _owner(dist: Distribution) -> tuple[str, str]:
    """Name and version; each look at the metadata reads the whole file, README and all."""
    said = dist.metadata
    return said["Name"], said["Version"]


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

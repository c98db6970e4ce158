"""The names that installed distributions claim for plugins; no plugin is imported.

It stands by itself so that `lab plugins` imports little.
"""

import functools
import os
import sys
from importlib.metadata import Distribution, EntryPoint, entry_points
from typing import NamedTuple

from labrun.entry_points import GROUP


class Installed(NamedTuple):
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

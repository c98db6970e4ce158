"""Variants of a method as a toolkit's short form takes them."""

from collections.abc import Mapping
from typing import Any

from labrun.errors import LabError


def method_presets(plugin: str, presets: Any) -> dict[str, dict[str, Any]]:
    """Presets of the group `method`: name -> {"trainer": settings}; none for None.

    Raises LabError where `presets` is anything but a mapping of names to mappings.
    """
    if presets is None:
        return {}
    form = '{"NAME": {"KEY": value}}'
    if not isinstance(presets, Mapping):
        got = type(presets).__name__
        raise LabError(f"plugin {plugin!r}: presets is a {got}, no mapping; write {form}")
    for name, values in presets.items():
        if not isinstance(values, Mapping):
            got = type(values).__name__
            raise LabError(
                f"plugin {plugin!r}: presets[{name!r}] is a {got}, no mapping of the trainer's "
                f"settings; write {form}"
            )
    return {name: {"trainer": values} for name, values in presets.items()}

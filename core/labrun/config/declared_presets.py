"""A preset that a plugin's description declares in Python."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from labrun.config.preset_keys import Line
from labrun.plain import flat, to_plain
from labrun.plugins.flaws import place_of_entry

DEFAULTS = "the defaults"
"""What a preset without keys sets."""


@dataclass(frozen=True)
class DeclaredPreset:
    """One entry of `PluginInfo.presets_in_python`; it begins at the whole configuration."""

    group: str
    name: str
    values: Mapping[str, Any]
    module: str
    """The module of the plugin's description, in whose source it is looked for."""

    def place(self) -> str:
        """`FILE, line N`; the module's file where it is not found there."""
        return place_of_entry(self.module, self.name)

    def lines(self) -> list[Line]:
        """The keys that the preset sets, in full."""
        own = {key: value for key, value in self.values.items() if key != "defaults"}
        return [self._line(key, value) for key, value in flat(to_plain(own))]

    def _line(self, key: str, value: Any) -> Line:
        path = _path(self.values, key)
        return Line(
            key,
            place_of_entry(self.module, self.name, path[-1]),
            has_dot=any("." in name for name in path),
            is_mapping=isinstance(value, Mapping),
            text=str(value),
        )

    def about(self) -> str:
        """What the preset sets, as one would type it."""
        replaced = [item for item in self.values.get("defaults", ()) if isinstance(item, Mapping)]
        words = [
            f"{name.removeprefix('override ').lstrip('/')}={choice}"
            for item in replaced
            for name, choice in item.items()
        ]
        words += [f"{line.key}={line.text}" for line in self.lines()]
        return " ".join(words) or DEFAULTS

    def header_flaw(self, keys: Mapping[str, Any]) -> None:
        """None: only a file has a line that says where its keys stand."""


def _path(values: Mapping[str, Any], key: str) -> list[str]:
    """The names, as they are written, that lead to a dotted key."""
    for name, inner in values.items():
        if key == name:
            return [name]
        if isinstance(inner, Mapping) and key.startswith(f"{name}."):
            return [name, *_path(inner, key[len(name) + 1 :])]
    return [key]

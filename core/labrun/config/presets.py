"""The YAML presets of a plugin: which there are, which keys each sets, and what is wrong in one."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any

import yaml

from labrun.contract import KINDS, PluginInfo
from labrun.errors import listed, nearest
from labrun.plugins import discovery
from labrun.plugins.flaws import FlawError, place_of_text
from labrun.plugins.references import package

_HEADER = re.compile(r"#\s*@package\s+(\S+)$")
_NEAR_HEADER = re.compile(r"#\s*@?\s*(\w+)\b\s*[:=]?\s*(\S*)")
OWN_PLACE = "_global_"


@dataclass(frozen=True)
class Preset:
    """One YAML file `GROUP/NAME.yaml` of a preset package."""

    group: str
    name: str
    file: Traversable

    def place(self, line: int = 0) -> str:
        return f"{self.file}, line {line}" if line else str(self.file)

    def text(self) -> str:
        """Raises FlawError where the file is no text."""
        try:
            return self.file.read_text(encoding="utf-8")
        except UnicodeDecodeError as fault:
            raise FlawError("the preset is no UTF-8 text", self.place()) from fault


@dataclass(frozen=True)
class Line:
    """A key as a preset writes it: where it stands in the whole configuration, and in the file."""

    key: str
    number: int
    has_dot: bool
    """Whether one name holds a dot, which OmegaConf takes for a part of the name."""
    is_mapping: bool
    """Whether its value is an empty mapping."""


def presets(info: PluginInfo) -> dict[tuple[str, str], Preset]:
    """(group, name) -> preset; of several packages that hold it, the first one's.

    Raises LabError for a preset package that is not there.
    """
    found: dict[tuple[str, str], Preset] = {}
    for folder in _folders(info):
        for file in _sorted(folder):
            if file.name.endswith(".yaml"):
                name = file.name.removesuffix(".yaml")
                found.setdefault((folder.name, name), Preset(folder.name, name, file))
    return found


def preset_groups(info: PluginInfo) -> dict[str, list[str]]:
    """Preset group -> names, from the YAML files of the plugin's packages and its description."""
    declared = {(group, n) for group, names in info.presets_in_python.items() for n in names}
    groups: dict[str, list[str]] = {}
    for group, name in sorted({*presets(info), *declared}):
        groups.setdefault(group, []).append(name)
    return groups


def _folders(info: PluginInfo) -> Iterator[Traversable]:
    """The folders of groups in the plugin's preset packages."""
    for name in info.presets:
        for folder in _sorted(package_folder(info, name)):
            if folder.is_dir() and not folder.name.startswith("_"):
                yield folder


def package_folder(info: PluginInfo, name: str) -> Traversable:
    """The folder of a preset package. Raises LabError where there is none."""
    module = discovery.module_of(info.name)
    try:
        package(name, root=module.partition(".")[0])
    except FlawError as flaw:
        written = place_of_text(module, f'"{name}"', f"'{name}'")
        fault = FlawError(f"PluginInfo.presets names {name!r}: {flaw}", written)
        raise discovery.broken_by(info.name, fault) from flaw
    return files(name)


def _sorted(folder: Traversable) -> list[Traversable]:
    return sorted(folder.iterdir(), key=lambda entry: entry.name)


def unread(info: PluginInfo, package: str) -> Iterator[FlawError]:
    """A flaw for each file of the package that looks like a preset and is never read."""
    folder = package_folder(info, package)
    for file in _sorted(folder):
        if file.name.endswith((".yaml", ".yml")):
            text = "a preset lies in the folder of its group, such as method/; this one is not read"
            yield FlawError(text, str(file))
    for group in _sorted(folder):
        for file in _sorted(group) if group.is_dir() else ():
            if file.name.endswith(".yml"):
                yield FlawError("a preset's name ends in .yaml; this one is not read", str(file))


def lines(preset: Preset) -> list[Line]:
    """The keys that the preset sets, in full. Raises FlawError where it cannot be read."""
    try:
        node = yaml.compose(preset.text(), Loader=yaml.SafeLoader)
    except yaml.YAMLError as fault:
        mark = getattr(fault, "problem_mark", None)
        said = " ".join(str(getattr(fault, "problem", "") or fault).split())
        text = f"the preset cannot be read: {said}"
        raise FlawError(text, preset.place(mark.line + 1 if mark else 0)) from fault
    if node is None:
        return []
    if not isinstance(node, yaml.MappingNode):
        text = f"the preset holds a {node.id}; write `key: value` lines"
        raise FlawError(text, preset.place(node.start_mark.line + 1))
    section = _section(preset)
    prefix = f"{section}." if section else ""
    return [line for line in _flat(node, prefix) if line.key != f"{prefix}defaults"]


def _flat(node: yaml.MappingNode, prefix: str) -> Iterator[Line]:
    for key, value in node.value:
        name = f"{prefix}{key.value}"
        if isinstance(value, yaml.MappingNode) and value.value:
            yield from _flat(value, f"{name}.")
        else:
            has_dot, is_mapping = "." in str(key.value), isinstance(value, yaml.MappingNode)
            yield Line(name, key.start_mark.line + 1, has_dot, is_mapping)


def _section(preset: Preset) -> str:
    """Where the preset's keys stand: empty for the whole configuration."""
    name = _package_line(preset.text())
    for word, meaning in (("_global_", ""), ("_group_", preset.group), ("_name_", preset.name)):
        name = name.replace(word, meaning) if name else name
    return preset.group if name is None else name.strip(".")


def _package_line(text: str) -> str | None:
    """What `# @package` says; None where it is not said at the top, where alone it is read."""
    for line in filter(None, map(str.strip, text.splitlines())):
        if found := _HEADER.match(line):
            return found[1]
        if not re.match(r"#\s*@", line):
            return None
    return None


def flaws_of(preset: Preset, keys: Mapping[str, Any]) -> Iterator[FlawError]:
    """What is wrong in the preset; `keys` are those that may be set, `NAME.*` for open mappings."""
    try:
        found = lines(preset)
    except FlawError as flaw:
        yield flaw
        return
    if header := _header_flaw(preset, found, keys):
        yield header
        return
    for key, count in Counter(line.key for line in found).items():
        if count > 1:
            last = [line.number for line in found if line.key == key][-1]
            yield FlawError(f"{key} is set twice; keep one", preset.place(last))
    for line in found:
        if not is_key(line.key, keys):
            yield FlawError(_no_key(line.key, keys), preset.place(line.number))
        elif _is_section(line.key, keys) and not line.is_mapping:
            text = f"{line.key} is a section; write its keys below it, or leave it out"
            yield FlawError(text, preset.place(line.number))
        elif line.has_dot and not _is_open(line.key, keys):
            text = f"{line.key}: a name with a dot; write one name a line, each below its section"
            yield FlawError(text, preset.place(line.number))


def _header_flaw(preset: Preset, found: list[Line], keys: Mapping[str, Any]) -> FlawError | None:
    """What is wrong with the line `# @package`."""
    text = preset.text()
    section = _package_line(text)
    if section is not None:
        first = section.split(".")[0]
        allowed = [OWN_PLACE, "_group_", "_name_", *{key.split(".")[0] for key in keys}]
        if first in allowed or not found:
            return None
        hint = f"did you mean {near!r}? " if (near := nearest(first, allowed)) else ""
        said = f"`# @package {section}` names no section; {hint}allowed: _global_, {_KINDS}"
        return FlawError(said, preset.place(_number_of(text, section)))
    if preset.group in KINDS or not found:
        return None
    wanted = f"write `# @package {_guess(preset, found, keys)}` at the top"
    for number, line in enumerate(text.splitlines(), 1):
        said = _NEAR_HEADER.match(line.strip())
        if said and (said[1] == "package" or nearest(said[1], ["package"], cutoff=0.75)):
            where = preset.place(number)
            if _HEADER.match(line.strip()):
                text = f"`{line.strip()}` is read only as the first line"
                return FlawError(f"{text}; {wanted}", where)
            return FlawError(f"`{line.strip()}` is no `# @package SECTION`; {wanted}", where)
    names = ", ".join(line.key for line in found[:3])
    text = f"no line `# @package SECTION`, so that its keys would be {names}; {wanted}"
    return FlawError(text, preset.place(found[0].number))


_KINDS = ", ".join(KINDS)


def _number_of(text: str, section: str) -> int:
    lines = enumerate(text.splitlines(), 1)
    return next(number for number, line in lines if f"@package {section}" in line)


def _guess(preset: Preset, found: list[Line], keys: Mapping[str, Any]) -> str:
    """The section that has the preset's keys."""
    bare = [line.key.removeprefix(f"{preset.group}.") for line in found]
    sections = {"": OWN_PLACE} | {f"{kind}.": kind for kind in KINDS}
    fits = {name: sum(is_key(p + key, keys) for key in bare) for p, name in sections.items()}
    return max(fits, key=lambda name: fits[name])


def is_key(key: str, keys: Mapping[str, Any]) -> bool:
    """Whether the key, or one above or below it, may be set."""
    if key in keys or _is_open(key, keys):
        return True
    return any(known.startswith(f"{key}.") or key.startswith(f"{known}.") for known in keys)


def _is_section(key: str, keys: Mapping[str, Any]) -> bool:
    return key not in keys and any(known.startswith(f"{key}.") for known in keys)


def _is_open(key: str, keys: Mapping[str, Any]) -> bool:
    return any(known.endswith(".*") and key.startswith(known[:-1]) for known in keys)


def _no_key(key: str, keys: Mapping[str, Any]) -> str:
    last = key.rsplit(".", 1)[-1]
    ends = [known.removesuffix(".*").rsplit(".", 1)[-1] for known in keys]
    same_end = [known for known, end in zip(keys, ends, strict=True) if end == nearest(last, ends)]
    near = nearest(key, same_end, cutoff=0.0) or nearest(key, keys, cutoff=0.85)
    if near:
        return f"no key {key}; did you mean {near}?"
    section = key.split(".")[0]
    inside = [known for known in keys if known.split(".")[0] == section] or [*keys]
    return f"no key {key}; keys: {listed(inside, near=key)}"

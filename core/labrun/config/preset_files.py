"""A preset in a YAML file `GROUP/NAME.yaml`: which keys it sets, and whether it can be read."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from typing import Any

import yaml

from labrun.config.preset_keys import Line, is_key
from labrun.contract import KINDS
from labrun.errors import nearest
from labrun.plugins.flaws import FlawError

_HEADER = re.compile(r"#\s*@package\s+(\S+)$")
_NEAR_HEADER = re.compile(r"#\s*@?\s*(\w+)\b\s*[:=]?\s*(\S*)")
OWN_PLACE = "_global_"


@dataclass(frozen=True)
class PresetFile:
    """One YAML file of a preset package."""

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

    def lines(self) -> list[Line]:
        """The keys that the preset sets, in full. Raises FlawError where it cannot be read."""
        node = self._node()
        section = self._section()
        prefix = f"{section}." if section else ""
        found = self._flat(node, prefix) if node else ()
        return [line for line in found if line.key != f"{prefix}defaults"]

    def about(self) -> str:
        """The first sentence of the comment at the top; without one, what the preset sets."""
        words: list[str] = []
        for line in map(str.strip, self.text().splitlines()):
            if not line.startswith("#"):
                break
            if not _HEADER.match(line):
                words += line.lstrip("# ").split()
        if not words:
            return " ".join(f"{line.key}={line.text}" for line in self.lines()) or "the defaults"
        return re.split(r"(?<=[^.]\.)\s+(?=[A-Z])", " ".join(words))[0].removesuffix(".")

    def header_flaw(self, keys: Mapping[str, Any]) -> FlawError | None:
        """What is wrong with the line `# @package`."""
        text, found = self.text(), self.lines()
        section = _package_line(text)
        if section is not None:
            first = section.split(".")[0]
            allowed = [OWN_PLACE, "_group_", "_name_", *{key.split(".")[0] for key in keys}]
            if first in allowed or not found:
                return None
            hint = f"did you mean {near!r}? " if (near := nearest(first, allowed)) else ""
            said = f"`# @package {section}` names no section; {hint}allowed: _global_, {_KINDS}"
            return FlawError(said, self.place(_number_of(text, section)))
        if self.group in KINDS or not found:
            return None
        wanted = f"write `# @package {_guess(self.group, found, keys)}` at the top"
        for number, line in enumerate(text.splitlines(), 1):
            said = _NEAR_HEADER.match(line.strip())
            if said and (said[1] == "package" or nearest(said[1], ["package"], cutoff=0.75)):
                where = self.place(number)
                if _HEADER.match(line.strip()):
                    text = f"`{line.strip()}` is read only as the first line"
                    return FlawError(f"{text}; {wanted}", where)
                return FlawError(f"`{line.strip()}` is no `# @package SECTION`; {wanted}", where)
        names = ", ".join(line.key for line in found[:3])
        text = f"no line `# @package SECTION`, so that its keys would be {names}; {wanted}"
        return FlawError(text, found[0].place)

    def _node(self) -> yaml.MappingNode | None:
        try:
            node = yaml.compose(self.text(), Loader=yaml.SafeLoader)
        except yaml.YAMLError as fault:
            mark = getattr(fault, "problem_mark", None)
            said = " ".join(str(getattr(fault, "problem", "") or fault).split())
            text = f"the preset cannot be read: {said}"
            raise FlawError(text, self.place(mark.line + 1 if mark else 0)) from fault
        if node is not None and not isinstance(node, yaml.MappingNode):
            text = f"the preset holds a {node.id}; write `key: value` lines"
            raise FlawError(text, self.place(node.start_mark.line + 1))
        return node

    def _section(self) -> str:
        """Where the preset's keys stand: empty for the whole configuration."""
        name = _package_line(self.text())
        for word, meaning in (("_global_", ""), ("_group_", self.group), ("_name_", self.name)):
            name = name.replace(word, meaning) if name else name
        return self.group if name is None else name.strip(".")

    def _flat(self, node: yaml.MappingNode, prefix: str) -> Iterator[Line]:
        for key, value in node.value:
            name = f"{prefix}{key.value}"
            if isinstance(value, yaml.MappingNode) and value.value:
                yield from self._flat(value, f"{name}.")
            else:
                yield Line(
                    name,
                    self.place(key.start_mark.line + 1),
                    has_dot="." in str(key.value),
                    is_mapping=isinstance(value, yaml.MappingNode),
                    text=_text_of(value),
                )


def _text_of(value: yaml.Node) -> str:
    """The value as one would write it behind `key=`."""
    if isinstance(value, yaml.ScalarNode):
        return str(value.value)
    if isinstance(value, yaml.SequenceNode):
        return f"[{', '.join(map(_text_of, value.value))}]"
    return "{...}" if value.value else "{}"


def _package_line(text: str) -> str | None:
    """What `# @package` says; None where it is not said at the top, where alone it is read."""
    for line in filter(None, map(str.strip, text.splitlines())):
        if found := _HEADER.match(line):
            return found[1]
        if not re.match(r"#\s*@", line):
            return None
    return None


_KINDS = ", ".join(KINDS)


def _number_of(text: str, section: str) -> int:
    lines = enumerate(text.splitlines(), 1)
    return next(number for number, line in lines if f"@package {section}" in line)


def _guess(group: str, found: Sequence[Line], keys: Mapping[str, Any]) -> str:
    """The section that has the preset's keys."""
    bare = [line.key.removeprefix(f"{group}.") for line in found]
    sections = {"": OWN_PLACE} | {f"{kind}.": kind for kind in KINDS}
    fits = {name: sum(is_key(p + key, keys) for key in bare) for p, name in sections.items()}
    return max(fits, key=lambda name: fits[name])

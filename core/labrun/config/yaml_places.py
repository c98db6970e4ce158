"""YAML of the user's, read so that an error can name its file and line."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import yaml

from labrun.errors import LabError, listed, nearest, shown

DEEPEST = 12
"""Mappings inside each other; a file beyond this refers to itself."""


@dataclass(frozen=True)
class YamlFile:
    """A file whose nodes know their lines."""

    path: Path

    def root(self) -> yaml.Node:
        """What the file holds. Raises LabError where it cannot be read, or is empty."""
        try:
            node = yaml.compose(self.path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
        except FileNotFoundError as error:
            raise LabError(f"no file {shown(str(self.path))}; {self._nearby()}") from error
        except OSError as error:
            raise LabError(f"cannot read {shown(str(self.path))}: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise LabError(f"{shown(str(self.path))} is no UTF-8 text; save it as UTF-8") from error
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            said = " ".join(str(getattr(error, "problem", "") or error).split())
            where = f"{self.path}, line {mark.line + 1}" if mark else str(self.path)
            raise LabError(f"this is no YAML: {said} ({where})") from error
        if node is None:
            raise LabError(f"{shown(str(self.path))} is empty; write KEY: VALUE lines")
        return node

    def _nearby(self) -> str:
        """The YAML files beside the one that is not there."""
        folder = self.path.parent
        names = sorted(p.name for p in folder.glob("*.y*ml")) if folder.is_dir() else []
        near = nearest(self.path.name, names)
        hint = f"did you mean {near!r}? " if near else ""
        return f"{hint}YAML files in {shown(str(folder.absolute()))}: {listed(names)}"

    def place(self, node: yaml.Node) -> str:
        return f"{self.path}, line {node.start_mark.line + 1}"

    def refusal(self, text: str, node: yaml.Node) -> LabError:
        return LabError(f"{text} ({self.place(node)})")

    def entries(
        self, node: yaml.Node, what: str, *, allowed: Iterable[str] | None = None
    ) -> dict[str, yaml.Node]:
        """Key -> value of a mapping.

        Raises LabError for another kind of node, a key that stands there twice, and a key that is
        not `allowed`, with the nearest one.
        """
        if not isinstance(node, yaml.MappingNode):
            raise self.refusal(f"{what} holds {_kind(node)}; write KEY: VALUE lines", node)
        found: dict[str, yaml.Node] = {}
        names = None if allowed is None else [*allowed]
        for key, value in node.value:
            name = self._key(key, what)
            if name in found:
                raise self.refusal(f"{what} has the key {name} twice; keep one", key)
            if names is not None and name not in names:
                near = nearest(name, names)
                hint = f"did you mean {near}? " if near else ""
                text = f"{what} has no key {shown(name)}; {hint}allowed: {listed(names, most=20)}"
                raise self.refusal(text, key)
            found[name] = value
        return found

    def _key(self, node: yaml.Node, what: str) -> str:
        if not isinstance(node, yaml.ScalarNode) or not node.value:
            raise self.refusal(f"a key of {what} is no text", node)
        return str(node.value)

    def text(self, node: yaml.Node, what: str) -> str:
        """The text, its lines joined. Raises LabError for another kind of node."""
        if not isinstance(node, yaml.ScalarNode) or is_null(node):
            raise self.refusal(f"{what} is {_kind(node)}; write a text", node)
        return " ".join(str(node.value).split())

    def number(self, node: yaml.Node, what: str) -> float:
        text = self.text(node, what)
        try:
            value = float(text)
        except ValueError as error:
            raise self.refusal(f"{what}={shown(text)}: no number", node) from error
        if value - value != 0:
            raise self.refusal(f"{what}={shown(text)}: no finite number", node)
        return value

    def switch(self, node: yaml.Node, what: str) -> bool:
        text = self.text(node, what)
        if text not in ("true", "false"):
            raise self.refusal(f"{what}={shown(text)}: allowed: true, false", node)
        return text == "true"

    def items(self, node: yaml.Node, what: str) -> list[yaml.Node]:
        if not isinstance(node, yaml.SequenceNode):
            raise self.refusal(f"{what} is {_kind(node)}; write a list, a `- ` a line", node)
        return list(node.value)


def is_null(node: yaml.Node) -> bool:
    """Whether nothing is written, or null."""
    return isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:null"


def _kind(node: yaml.Node) -> str:
    if is_null(node):
        return "nothing"
    if isinstance(node, yaml.ScalarNode):
        return "a text"
    return "a list" if isinstance(node, yaml.SequenceNode) else "a mapping"

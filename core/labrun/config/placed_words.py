"""Words `key=value` out of YAML, each with the file and line where it stands."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import yaml

from labrun.config.words import Word, quoted
from labrun.config.yaml_places import DEEPEST, YamlFile, is_null
from labrun.errors import LabError, shown

_SAFE_ITEM = re.compile(r"[^,\[\]{}():'\"]*")


@dataclass(frozen=True)
class Placed:
    """A word, and `FILE, line N` where it stands; no place: it was typed."""

    word: str
    place: str = ""

    @property
    def key(self) -> str:
        return self.word.partition("=")[0]


def words_of(file: YamlFile, node: yaml.Node) -> Iterator[Placed]:
    """The words of a text, a list or a mapping; none of nothing."""
    if is_null(node):
        return
    if isinstance(node, yaml.ScalarNode):
        yield _typed(file, node)
    elif isinstance(node, yaml.MappingNode):
        for key, value in file.entries(node, "the mapping").items():
            yield from flat_words(file, key, value)
    else:
        for item in file.items(node, "the words"):
            if isinstance(item, yaml.SequenceNode):
                raise file.refusal("a list inside a list; write one word a line", item)
            yield from words_of(file, item)


def _typed(file: YamlFile, node: yaml.ScalarNode) -> Placed:
    """A word as it would be typed. Raises LabError where it is none."""
    try:
        Word.of(node.value)
    except LabError as error:
        raise file.refusal(str(error), node) from error
    return Placed(node.value, file.place(node))


def flat_words(file: YamlFile, key: str, node: yaml.Node, depth: int = 0) -> Iterator[Placed]:
    """A word for each value below the key."""
    if "=" in key:
        raise file.refusal(f"'{shown(key)}': a key holds no =; write KEY: VALUE", node)
    if depth > DEEPEST:
        raise file.refusal(f"{shown(key)}: more than {DEEPEST} mappings inside each other", node)
    if isinstance(node, yaml.MappingNode) and node.value:
        for name, value in file.entries(node, key).items():
            yield from flat_words(file, f"{key}.{name}", value, depth + 1)
    else:
        yield Placed(f"{key}={_value(file, node, depth)}", file.place(node))


def _value(file: YamlFile, node: yaml.Node, depth: int) -> str:
    """The value as one would type it behind `key=`."""
    if depth > DEEPEST:
        raise file.refusal(f"more than {DEEPEST} lists inside each other", node)
    if is_null(node):
        return "null"
    if isinstance(node, yaml.ScalarNode):
        return quoted(node.value) if node.style else node.value
    if isinstance(node, yaml.SequenceNode):
        return f"[{', '.join(_item(file, item, depth + 1) for item in node.value)}]"
    pairs = file.entries(node, "the value").items()
    return f"{{{', '.join(f'{k}: {_item(file, v, depth + 1)}' for k, v in pairs)}}}"


def _item(file: YamlFile, node: yaml.Node, depth: int) -> str:
    text = _value(file, node, depth)
    plain = isinstance(node, yaml.ScalarNode) and not node.style
    return quoted(text) if plain and not _SAFE_ITEM.fullmatch(text) else text

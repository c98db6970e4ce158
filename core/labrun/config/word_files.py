"""Words out of a YAML file of the user's: `lab run @my.yaml seed=1`.

A list holds words as they are typed. A mapping holds keys and values: a plain value is read as on
the command line, one in quotes is that text. `arms` names several sets of words, a run each.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

from labrun.config.experiments import expand, studied
from labrun.config.placed_words import Placed, flat_words, words_of
from labrun.config.words import command_line
from labrun.config.yaml_places import YamlFile
from labrun.errors import LabError, shown

MARK = "@"


@dataclass(frozen=True)
class WordFile:
    """The words of one file; `arms` is empty where the file names none."""

    common: tuple[Placed, ...]
    arms: dict[str, tuple[Placed, ...]]


def read(path: Path) -> WordFile:
    """The file's words. Raises LabError, with file and line, where it holds something else."""
    file = YamlFile(path)
    root = file.root()
    if isinstance(root, yaml.ScalarNode):
        raise file.refusal("the file holds one text; write `- KEY=VALUE` or KEY: VALUE lines", root)
    if not isinstance(root, yaml.MappingNode):
        return WordFile(tuple(words_of(file, root)), {})
    entries = file.entries(root, "the file")
    if "question" in entries and "arms" in entries:
        text = f"this file is a suite; `lab bench {shown(str(path))}` runs it"
        raise file.refusal(text, root)
    arms = _arms(file, entries.pop("arms")) if "arms" in entries else {}
    common = [word for key, node in entries.items() for word in flat_words(file, key, node)]
    return WordFile(tuple(common), {name: tuple(words_of(file, arms[name])) for name in arms})


def _arms(file: YamlFile, node: yaml.Node) -> dict[str, yaml.Node]:
    found = file.entries(node, "arms")
    if not found:
        raise file.refusal("arms is empty; write LABEL: KEY=VALUE lines, or leave it out", node)
    return found


def spread(typed: Sequence[str]) -> list[list[Placed]]:
    """The words of a command with those of its files in it: a list for each arm of the files.

    A word of a later file takes the place of an earlier one's, a typed word that of any. Raises
    LabError for a typed key by which the arms of a file differ.
    """
    own = [Placed(word) for word in typed if not word.startswith(MARK)]
    points: list[list[Placed]] = [[]]
    for name in (word[len(MARK) :] for word in typed if word.startswith(MARK)):
        if not name:
            raise LabError("@: write @FILE.yaml, a file with words")
        file = read(Path(name))
        refuse_axes(own, {name: [w for arm in file.arms.values() for w in arm]})
        arms = [replaced(file.common, arm) for arm in file.arms.values()] or [list(file.common)]
        points = [replaced(point, arm) for point in points for arm in arms]
    return [replaced(point, own) for point in points]


def replaced(words: Sequence[Placed], by: Sequence[Placed]) -> list[Placed]:
    """The words whose key no word of `by` names, and then `by`."""
    return [*(word for word in words if not any(same_key(word, new) for new in by)), *by]


def same_key(one: Placed, other: Placed) -> bool:
    """Whether the words set one key, in full or by its end."""
    a, b = f".{one.key}", f".{other.key}"
    return a.endswith(b) or b.endswith(a)


def refuse_axes(typed: Sequence[Placed], axes: dict[str, list[Placed]]) -> None:
    """Raise LabError for a typed key by which the arms of a file differ."""
    for word in typed:
        for name, words in axes.items():
            if any(same_key(word, one) for one in words):
                text = f"{shown(word.word)}: {word.key} is what the arms of {shown(name)} differ in"
                raise LabError(f"{text}; leave it out, or change the file")


@contextmanager
def located(points: Sequence[Sequence[Placed]]) -> Iterator[None]:
    """Adds the file and line to what is refused inside, where a file's word is the reason."""
    try:
        yield
    except LabError as error:
        guilty = _guilty(str(error), points)
        if guilty is None or guilty.place in str(error):
            raise
        raise LabError(f"{error} ({guilty.place})") from error


def _guilty(said: str, points: Sequence[Sequence[Placed]]) -> Placed | None:
    """The file's word that the error is about: without it, it would not have been raised."""
    for words in points:
        if _fault(words) == said:
            without = {w: _fault([o for o in words if o is not w]) for w in words}
            causes = [word for word in words if not without[word]]
            changing = [w for w in words if without[w] != said and w.key != "plugin"]
            plugin = [word for word in words if word.key == "plugin"]
            found = next(iter([*causes, *changing, *plugin]), None)
            return found if found and found.place else None
    return _named(said, [word for words in points for word in words if word.place])


def _fault(words: Sequence[Placed]) -> str:
    """What composing these words is refused with; empty where it is not."""
    try:
        for point in expand([word.word for word in words]):
            studied(point)
    except LabError as error:
        return str(error)
    return ""


def _named(said: str, words: Sequence[Placed]) -> Placed | None:
    """The word whose value, or key and value, an error names that came after composing."""
    for word in words:
        key, value = re.escape(word.key.rsplit(".", 1)[-1]), word.word.partition("=")[2]
        is_keyed = re.search(rf"(?<!\w){key}(?!\w)", said) and value in said
        if value and (is_keyed or f"'{value}'" in said):
            return word
    return None


def texts(words: Sequence[Placed]) -> list[str]:
    return [word.word for word in words]


def shell(words: Sequence[Placed]) -> str:
    return command_line(texts(words))

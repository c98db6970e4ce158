r"""Words of the command line: `key=value`, and sweeps over values with commas.

A value stands as it is typed: the first `=` ends the key. Only these characters mean something:
a quote that begins a value, a comma outside of brackets (a sweep), `\,` and `\=` (the plain
character), and brackets where a list or a mapping is wanted.
"""

import itertools
import math
import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from labrun.errors import LabError, shown

if TYPE_CHECKING:
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.core.override_parser.types import Override

MAX_RUNS = 10_000
"""A sweep beyond this is a slip of the hand."""
MAX_SWEEP_FUNCTION = 2_000
"""Characters of `range(...)` or `choice(...)`; a longer one takes Hydra's parser minutes."""

_NO_TEXT = re.compile("[\0\ud800-\udfff]")
"""NUL, and the bytes of an argument that Python could not decode."""
_QUOTED = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"", re.DOTALL)
_ESCAPE = re.compile(r"\\[\\()\[\]{}:=, \t]")
_TWO_READINGS = r"()[]{}:" + " \t"
_SWEEP_FUNCTION = re.compile(r"(choice|range|interval|glob|shuffle|sort|tag) ?\(.*\)", re.DOTALL)
_CLOSING = {"(": ")", "[": "]", "{": "}"}


@dataclass(frozen=True)
class Word:
    """One word: its key and the text of its value, without spaces around it."""

    key: str
    text: str

    def __str__(self) -> str:
        return shown(f"{self.key}={self.text}")

    @classmethod
    def of(cls, word: str) -> "Word":
        """Raises LabError for a word that is no `key=value`."""
        if word.startswith(("+", "~")):
            raise LabError(
                f"'{shown(word)}': '+' and '~' are refused, since every key is checked; drop it"
            )
        key, equal, text = word.partition("=")
        if not (equal and key):
            hint = f"; @{shown(word)} reads a file" if word.endswith((".yaml", ".yml")) else ""
            raise LabError(f"cannot read '{shown(word)}', expected key=value{hint}")
        if _NO_TEXT.search(word):
            raise LabError(
                f"cannot read '{shown(word)}': it is not UTF-8 text; rename the file, or set a "
                "UTF-8 locale"
            )
        return cls(key, text.strip(" \t"))


def expand(overrides: Sequence[str]) -> list[list[str]]:
    """The points of a sweep: every combination of the comma-separated values.

    >>> expand(["plugin=p", "seed=0,1"])
    [['plugin=p', 'seed=0'], ['plugin=p', 'seed=1']]
    """
    axes: list[list[str]] = []
    for text in overrides:
        word = Word.of(text)
        values = sweep_values(word)
        axes.append([text] if values is None else [f"{word.key}={value}" for value in values])
    if math.prod(map(len, axes)) > MAX_RUNS:
        raise LabError(f"this sweep holds more than {MAX_RUNS} runs; make it smaller")
    return [list(point) for point in itertools.product(*axes)]


def is_sweep(overrides: Sequence[str]) -> bool:
    return any(sweep_values(Word.of(text)) is not None for text in overrides)


def single(text: str) -> Word:
    """The word, which must hold one value. Raises LabError for a sweep."""
    word = Word.of(text)
    if sweep_values(word) is not None:
        raise LabError(
            f"{word}: a value with commas is a sweep: add -m (or quote it: {copyable(word)})"
        )
    return word


def sweep_values(word: Word) -> list[str] | None:
    """The texts of a sweep's values, quoted as they were; None where the word holds one value."""
    if _SWEEP_FUNCTION.fullmatch(word.text) and is_enclosed(word.text.split("(", 1)[1], "("):
        return _function_values(word)
    if "," not in word.text:
        return None
    values = split(word.text, ",")
    if values is None:
        raise LabError(f"{word}: its brackets and commas have two readings; {_way_out(word)}")
    if len(values) > 1 and not all(values):
        raise LabError(f"{word}: an empty value between commas; write '' or {copyable(word)}")
    return values if len(values) > 1 else None


def _function_values(word: Word) -> list[str] | None:
    """The values of `range(0,3)` or `choice(a,b)`; None for a text that only looks like one."""
    if len(word.text) > MAX_SWEEP_FUNCTION:
        raise LabError(f"{word}: too long for a sweep function; write key=a,b,c")
    from hydra.errors import HydraException  # a second, which most words do not need

    try:
        override = _parser().parse_override(f"key={word.text}")
    except HydraException:
        return None
    return _discrete_values(word, override) if override.is_sweep_override() else None


def _discrete_values(word: Word, override: "Override") -> list[str]:
    from hydra.core.override_parser.types import ValueType

    if override.value_type is ValueType.GLOB_CHOICE_SWEEP:
        raise LabError(f"{word}: write the values out, key=a,b,c")
    if not override.is_discrete_sweep():
        raise LabError(f"{word}: an interval has no list of values; write key=a,b,c")
    values = list(itertools.islice(override.sweep_string_iterator(), MAX_RUNS + 1))
    if not values:
        raise LabError(f"{word}: holds no value; write key=a,b,c")
    return values


def _parser() -> "OverridesParser":
    from hydra.core.override_parser.overrides_parser import OverridesParser

    return OverridesParser.create()


def split(text: str, separator: str, *, most: int = -1) -> list[str] | None:
    """The parts of the text between separators that stand outside of quotes and brackets.

    None where the brackets do not pair up. `most` splits are made, all where it is negative.
    """
    parts, begin, at, closers = [], 0, 0, []
    fresh = True  # a quote opens a quoted value only where a value begins
    while at < len(text):
        quoted = _QUOTED.match(text, at) if fresh else None
        escaped = _ESCAPE.match(text, at)
        if quoted or escaped:
            at = (quoted or escaped).end()  # pyrefly: ignore[missing-attribute]
            fresh = False
            continue
        character = text[at]
        if character in _CLOSING:
            closers.append(_CLOSING[character])
        elif closers and character == closers[-1]:
            closers.pop()
        elif character in ")]}":
            return None
        elif character == separator and not closers and len(parts) != most:
            parts.append(text[begin:at].strip(" \t"))
            begin = at + 1
        fresh = character in "([{,:" or (fresh and character in " \t")
        at += 1
    return None if closers else [*parts, text[begin:].strip(" \t")]


def is_enclosed(rest: str, opening: str) -> bool:
    """Whether the bracket `opening` before `rest` is closed by the last character of `rest`."""
    inner = rest[:-1]
    return rest.endswith(_CLOSING[opening]) and split(inner, ",") is not None


def plain_text(text: str, *, key: str) -> str:
    r"""The text that a value without brackets stands for: unquoted, `\,` and `\=` taken plainly.

    Every other backslash stays, since paths and mathematics hold them. Raises LabError for a quote
    that is not the whole value, and for the escapes of brackets, spaces and colons, which have two
    readings.
    """
    word = Word(key, text)
    if text.startswith(("'", '"')):
        if not _QUOTED.fullmatch(text):
            raise LabError(
                f"{word}: a quote opens the value and does not close it; {_way_out(word)}"
            )
        return _unquoted(text)
    for escape in _ESCAPE.findall(text):
        if escape[1] in _TWO_READINGS:
            other = Word(key, _ESCAPE.sub(lambda found: found[0][1], text))
            raise LabError(
                f"{word}: {escape} has two readings; write {copyable(other)} or {copyable(word)}"
            )
    return _ESCAPE.sub(lambda found: found[0][1] if found[0][1] in ",=" else found[0], text)


def is_quoted(text: str) -> bool:
    return _QUOTED.fullmatch(text) is not None


def _unquoted(text: str) -> str:
    r"""The text in quotes: `\'` is a quote, and backslashes before a quote stand in pairs."""
    runs = re.compile(rf"\\+(?={text[0]}|\Z)")
    return runs.sub(lambda run: run[0][: len(run[0]) // 2], text[1:-1])


def quoted(text: str) -> str:
    r"""The text as one quoted value.

    >>> print(quoted("bob's"))
    'bob\'s'
    """
    body = re.sub(
        r"(\\*)('|\Z)", lambda found: found[1] * 2 + ("\\'" if found[2] else ""), text, flags=re.S
    )
    return f"'{body}'"


def copyable(word: Word) -> str:
    """The word with its value quoted, and where a shell would take the quotes, how it is typed."""
    text = f"{word.key}={quoted(word.text)}"
    if len(text) > 200 or not text.isprintable():
        return f"{word.key}='...'"
    return f"{text}, in a shell {in_shell(text)}"


def _way_out(word: Word) -> str:
    return f"for one value write {copyable(word)}"


def command_line(words: Iterable[str]) -> str:
    """The words as they are typed in a shell."""
    return " ".join(map(in_shell, words))


def in_shell(word: str) -> str:
    """The word as a POSIX shell takes it back, in one line."""
    if not word.isprintable():
        return _ansi_c(word)
    if "'" in word and not re.search(r'[$`\\!"]', word):
        return f'"{word}"'
    return shlex.quote(word)


def _ansi_c(word: str) -> str:
    """`$'...'`, in which a shell reads control characters as escapes."""
    plain = word.replace("\\", "\\\\").replace("'", "\\'")
    return f"$'{''.join(c if c.isprintable() else ascii(c)[1:-1] for c in plain)}'"

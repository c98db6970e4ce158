"""From the text of a value to the value, by the type that its key has."""

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import is_dataclass
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from labrun.config.words import Word, copyable, is_enclosed, is_quoted, plain_text, split
from labrun.errors import LabError, shown

MAX_DEPTH = 20
"""Lists and mappings inside each other."""
MAX_DIGITS = 1_000
"""Digits of an integer; Python itself refuses 4,300."""
MAX_INTERPOLATIONS = 50
MAX_INTERPOLATED_LENGTH = 20_000
"""Characters of a text with `${`."""

_INT = re.compile(r"[+-]?(0|[1-9](_?[0-9])*)")
_FLOAT = re.compile(
    r"[+-]?((0|[1-9](_?[0-9])*)\.?([eE][+-]?[0-9](_?[0-9])*)?"
    r"|(0|[1-9](_?[0-9])*)?\.[0-9](_?[0-9])*([eE][+-]?[0-9](_?[0-9])*)?|inf|nan)",
    re.IGNORECASE,
)
_CONSTANTS = {"true": True, "false": False, "null": None}


def read(text: str, hint: Any, *, key: str, depth: int = 0) -> Any:
    """The value of `key` that the text stands for where the type `hint` is wanted.

    For a text key it is the text as typed: `1.10`, `null` and `007` stay as they are. Elsewhere
    numbers, `true`, `false`, `null`, `[a, b]` and `{a: b}` are read; whether the value fits the
    type is checked later. Raises LabError for a text with two readings.
    """
    if depth > MAX_DEPTH:
        raise LabError(f"{shown(key)}: more than {MAX_DEPTH} brackets inside each other")
    if "${" in text and depth == 0:
        _check_interpolations(text, key=key)
    kinds = options(hint)
    if is_quoted(text):
        return plain_text(text, key=key)
    if NoneType in kinds and text.lower() == "null":
        return None
    if _is_list(text) and (_takes_list(kinds) or not _takes_text(kinds)):
        return _list(text, kinds, key=key, depth=depth)
    if _is_mapping(text) and (_takes_mapping(kinds) or not _takes_text(kinds)):
        return _mapping(text, kinds, key=key, depth=depth)
    if _takes_text(kinds):
        return _text_or_number(text, kinds, key=key)
    return _scalar(text, key=key)


def _check_interpolations(text: str, *, key: str) -> None:
    """Raises LabError for more than a hand writes: OmegaConf's parser would take minutes."""
    if text.count("${") > MAX_INTERPOLATIONS or len(text) > MAX_INTERPOLATED_LENGTH:
        raise LabError(
            f"{Word(key, text)}: a text with ${{ has at most {MAX_INTERPOLATIONS} interpolations "
            f"and {MAX_INTERPOLATED_LENGTH} characters"
        )


def options(hint: Any) -> tuple[Any, ...]:
    """The types of a union; the type itself where it is none."""
    if get_origin(hint) in (Union, UnionType):
        return tuple(kind for member in get_args(hint) for kind in options(member))
    return (hint,)


@functools.cache
def fields_of(kind: Any) -> dict[str, Any]:
    """Field -> type of a config dataclass; none for another type."""
    return get_type_hints(kind) if is_dataclass(kind) else {}


def is_mapping_type(kind: Any) -> bool:
    return kind is dict or get_origin(kind) in (dict, Mapping)


def value_type(kind: Any) -> Any:
    """The type of a mapping's values."""
    return (get_args(kind) or (str, Any))[1]


def _takes_text(kinds: Sequence[Any]) -> bool:
    names = [value for kind in kinds if get_origin(kind) is Literal for value in get_args(kind)]
    return str in kinds or (bool(names) and all(isinstance(name, str) for name in names))


def _takes_list(kinds: Sequence[Any]) -> bool:
    return any(kind in (list, tuple) or get_origin(kind) in (list, tuple) for kind in kinds)


def _takes_mapping(kinds: Sequence[Any]) -> bool:
    return any(is_dataclass(kind) or is_mapping_type(kind) for kind in kinds)


def _is_list(text: str) -> bool:
    return text.startswith("[") and is_enclosed(text[1:], "[")


def _is_mapping(text: str) -> bool:
    """Whether the text is `{name: value, ...}`; `{prompt}` is not."""
    if not (text.startswith("{") and is_enclosed(text[1:], "{")):
        return False
    items = split(text[1:-1], ",")
    assert items is not None
    return items == [""] or all(len(split(item, ":") or ()) > 1 for item in items)


def _list(text: str, kinds: Sequence[Any], *, key: str, depth: int) -> list[Any]:
    if _takes_mapping(kinds) and not _takes_list(kinds):
        raise LabError(f"{Word(key, text)}: a list where {{name: value, ...}} is wanted")
    arguments = [get_args(kind) for kind in kinds if get_origin(kind) in (list, tuple)]
    hint = arguments[0][0] if arguments and arguments[0] else Any
    items = enumerate(_items(text, key=key))
    return [read(item, hint, key=f"{key}[{i}]", depth=depth + 1) for i, item in items]


def _mapping(text: str, kinds: Sequence[Any], *, key: str, depth: int) -> dict[str, Any]:
    fields = {name: hint for kind in kinds for name, hint in fields_of(kind).items()}
    free = next((value_type(kind) for kind in kinds if is_mapping_type(kind)), Any)
    values: dict[str, Any] = {}
    for item in _items(text, key=key):
        name, value = split(item, ":", most=1) or ("", "")
        name = plain_text(name, key=key)
        if name in values:
            raise LabError(f"{Word(key, text)}: {shown(name)} is set twice; keep one")
        inner = f"{key}.{name}"
        values[name] = read(value, fields.get(name, free), key=inner, depth=depth + 1)
    return values


def _items(text: str, *, key: str) -> list[str]:
    items = split(text[1:-1], ",")
    assert items is not None
    if items == [""]:
        return []
    if not all(items):
        raise LabError(f"{Word(key, text)}: an empty value between commas; write ''")
    return items


def _text_or_number(text: str, kinds: Sequence[Any], *, key: str) -> Any:
    """The text as typed; a number only where the key takes both and nothing of it is lost."""
    if str in kinds and (_is_list(text) or _is_mapping(text)):
        word = Word(key, text)
        raise LabError(f"{word}: the key takes one text; for this text write {copyable(word)}")
    if {int, float, bool} & {kind for kind in kinds if isinstance(kind, type)}:
        value = _scalar(text, key=key)
        wanted = type(value) in kinds or (type(value) is int and float in kinds)
        if wanted and text in (str(value), str(value).lower()):
            return value
    return plain_text(text, key=key)


def _scalar(text: str, *, key: str) -> Any:
    if text.lower() in _CONSTANTS:
        return _CONSTANTS[text.lower()]
    if _INT.fullmatch(text):
        digits = sum(map(str.isdigit, text))
        if digits > MAX_DIGITS:
            raise LabError(f"{Word(key, text)}: {digits} digits; at most {MAX_DIGITS} are read")
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else plain_text(text, key=key)

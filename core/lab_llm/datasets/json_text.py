"""JSON as data sets need it: numbers exactly as they are written, nothing ambiguous."""

import json
import math
import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

MAX_DEPTH = 100
"""Lists and objects that may stand inside each other."""
KINDS: Mapping[type, str] = {
    type(None): "null",
    bool: "true or false",
    int: "a number",
    Decimal: "a number",
    str: "text",
    list: "a list",
}
"""What a value that is no object is called."""

_SPACE = re.compile(r"[ \t\n\r]*")
_TOKENS = re.compile(r'"(?:[^"\\]|\\.)*+"?|[\[{]|[\]}]', re.DOTALL)
"""Strings, whose brackets do not count, and brackets."""


class UnfitJSONError(ValueError):
    """JSON that is no good as data. The message follows the name of a place: `holds NaN, ...`."""


def parse_json(text: str) -> Any:
    """The value of a JSON text, its numbers as int or Decimal with all their digits.

    Raises JSONDecodeError for broken JSON; UnfitJSONError for a key that an object has twice, NaN
    and the infinities, numbers beyond a float's range, half of a character, and deep nesting.
    """
    if too_deep(text):
        raise _too_deep()
    value = json.loads(text, cls=_Decoder)
    if "\\u" in text:
        check_characters(value)
    return value


def parse_items(text: str) -> Iterator[Any]:
    """The items of a JSON array, each as `parse_json` gives it, up to the first that it refuses.

    Raises JSONDecodeError also for what stands between and behind them.
    """
    decoder = _Decoder()
    place = _behind(text, text.index("["))
    if text[place : place + 1] != "]":
        while True:
            value, end = _item(decoder, text, place)
            yield value
            place = _behind(text, end - 1)
            if text[place : place + 1] != ",":
                break
            place = _behind(text, place)
    if text[place : place + 1] != "]":
        raise json.JSONDecodeError("Expecting ',' or ']'", text, place)
    if (end := _behind(text, place)) != len(text):
        raise json.JSONDecodeError("Extra data", text, end)


def _behind(text: str, place: int) -> int:
    """The place of the next sign behind the one at `place`."""
    found = _SPACE.match(text, place + 1)
    assert found is not None
    return found.end()


def _item(decoder: json.JSONDecoder, text: str, place: int) -> tuple[Any, int]:
    try:
        value, end = decoder.raw_decode(text, place)
    except RecursionError:
        raise _too_deep() from None
    written = text[place:end]
    if too_deep(written):
        raise _too_deep()
    if "\\u" in written:
        check_characters(value)
    return value, end


def _too_deep() -> UnfitJSONError:
    return UnfitJSONError(f"nests more than {MAX_DEPTH} lists and objects; drop the row")


def too_deep(text: str) -> bool:
    """Whether more than MAX_DEPTH brackets are open at once.

    Python's parser gives up later, at a depth that depends on its caller.
    """
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return False
    depth = 0
    for token in _TOKENS.finditer(text):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(token[0], 0)
        if depth > MAX_DEPTH:
            return True
    return False


def check_characters(value: object) -> None:
    """UnfitJSONError for half of a surrogate pair: JSON can write it, no tokenizer takes it."""
    for text in _texts(value):
        try:
            text.encode()
        except UnicodeEncodeError as error:
            half = f"\\u{ord(text[error.start]):04x}"
            raise UnfitJSONError(
                f"holds {half}, half of a character; mend or drop the row"
            ) from error


def _texts(value: object) -> Iterator[str]:
    """Every text and every key inside."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inside in value.items():
            yield key
            yield from _texts(inside)
    elif isinstance(value, list):
        for inside in value:
            yield from _texts(inside)


def _integer(text: str) -> int | Decimal:
    # Python refuses to make an int of thousands of digits.
    return int(text) if len(text) <= 1000 else Decimal(text)


def _decimal(text: str) -> Decimal:
    mantissa = re.split("[eE]", text)[0]
    if not mantissa.strip("-.0"):
        return Decimal(mantissa)
    if float(text) == 0 or math.isinf(float(text)):
        raise UnfitJSONError(
            f"holds the number {text:.40}, beyond the range of a float; write it as a text"
        )
    return Decimal(text)


def _constant(name: str) -> float:
    raise UnfitJSONError(f"holds {name}, which is no number; write null or drop the row")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for place, key in enumerate(keys) if key in keys[:place])
        raise UnfitJSONError(f"has the key {twice[:60]!r} twice in one object; drop one of them")
    return found


class _Decoder(json.JSONDecoder):
    def __init__(self) -> None:
        super().__init__(
            parse_float=_decimal,
            parse_int=_integer,
            parse_constant=_constant,
            object_pairs_hook=_object,
        )

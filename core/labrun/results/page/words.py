"""Texts of runs, models and users as a page shows them: clean, bounded, counted."""

import time
from collections.abc import Iterable

VISIBLE = {code: 0x2400 + code for code in range(32) if chr(code) not in "\n\t"} | {127: 0x2421}
"""A control character -> its picture, which a page can show."""
BIDIRECTIONAL = dict.fromkeys((*range(0x202A, 0x202F), *range(0x2066, 0x206A)), 0xFFFD)
"""Characters that turn the order of what follows; a text could pretend to be another one."""


def clean(text: str) -> str:
    """The text without what HTML or UTF-8 cannot hold, of equal length.

    >>> clean("a\\x00b")
    'a\\u2400b'
    """
    shown = text.replace("\r", "\n").translate(VISIBLE | BIDIRECTIONAL)
    return shown.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def clipped(text: str, limit: int) -> str:
    """The text, its end left out, and said so, where it is longer than `limit`."""
    if len(text) <= limit:
        return text
    return f"{text[:limit]} … ({len(text):,} characters)"


def short(text: str, limit: int = 80) -> str:
    """The text, clean, its middle left out where it is longer than `limit`.

    >>> short("abcdefgh", 5)
    'ab…gh'
    """
    if len(text) <= limit:
        return clean(text)
    half = (limit - 1) // 2
    return clean(f"{text[:half]}…{text[-half:]}")


def counted(count: int, what: str) -> str:
    """`1 run`, `2 runs`."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def joined(words: Iterable[str], by: str = "and") -> str:
    """`a`, `a and b`, `a, b and c`."""
    *first, last = words
    return f"{', '.join(first)} {by} {last}" if first else last


def moment(seconds: float) -> str:
    """A time since the epoch, in UTC and to the minute."""
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))


def duration(seconds: float) -> str:
    """A span of time by its two largest units: `3 min 12 s`."""
    units = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))
    left, parts = round(seconds), []
    for size, unit in units:
        if left >= size or parts:
            parts.append((left // size, unit))
        left %= size
    return " ".join(f"{n} {unit}" for n, unit in parts[:2] if n) or "0 s"

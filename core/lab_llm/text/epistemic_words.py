"""Epistemic verbalization: words with which a response voices doubt or turns around."""

import re
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import Annotated

from annotated_types import MinLen
from pydantic import AfterValidator

EPISTEMIC_WORDS = (
    "wait",
    "hmm",
    "perhaps",
    "maybe",
    "actually",
    "alternatively",
    "seems",
    "might",
    "likely",
    "check",
)
"""The ten words of arXiv 2603.24472."""


def _each_once(words: tuple[str, ...]) -> tuple[str, ...]:
    """ValueError for a blank word, or one that would be counted twice."""
    lowered = [word.lower() for word in words]
    for word in words:
        if not word.strip():
            raise ValueError(f"{word!r} is blank; take it out")
        if lowered.count(word.lower()) > 1:
            raise ValueError(f"{word!r} is there twice (case does not count); name it once")
    return words


Words = Annotated[tuple[str, ...], MinLen(1), AfterValidator(_each_once)]
"""A setting that holds words to count: at least one, none blank, each once."""


def epistemic_count(text: str, words: Sequence[str] = EPISTEMIC_WORDS) -> int:
    """Occurrences of the words as substrings, in any case, summed: the published count.

    "checking" and "unlikely" count.
    """
    return sum(substring_counts(text, words).values())


def epistemic_words(text: str, words: Sequence[str] = EPISTEMIC_WORDS) -> int:
    """Occurrences of the words as whole words, in any case: "checking" does not count.

    A word ends where no letter, digit or underscore follows, so that none is found in scripts that
    write without spaces; `epistemic_count` finds those.
    """
    return len(_whole_words(tuple(words)).findall(text))


def substring_counts(text: str, words: Sequence[str] = EPISTEMIC_WORDS) -> dict[str, int]:
    """The published count of each word by itself."""
    lowered = text.lower()
    return {word: lowered.count(word.lower()) for word in words}


def word_counts(text: str, words: Sequence[str] = EPISTEMIC_WORDS) -> dict[str, int]:
    """Occurrences of each word as a whole word, in any case."""
    found = Counter(match.lower() for match in _whole_words(tuple(words)).findall(text))
    return {word: found[word.lower()] for word in words}


def word_spans(text: str, words: Sequence[str] = EPISTEMIC_WORDS) -> list[tuple[int, int]]:
    """(start, end) of each whole word in the text, in order."""
    return [match.span() for match in _whole_words(tuple(words)).finditer(text)]


@lru_cache
def _whole_words(words: tuple[str, ...]) -> re.Pattern[str]:
    alternatives = "|".join(map(re.escape, sorted(words, key=len, reverse=True)))
    return re.compile(rf"(?<!\w)(?:{alternatives})(?!\w)", re.IGNORECASE)

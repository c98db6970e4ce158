"""Epistemic verbalization: words with which a response voices doubt or turns around."""

import re
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

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


def epistemic_count(text: str, words: Sequence[str] = EPISTEMIC_WORDS) -> int:
    """Occurrences of the words as substrings, in any case, summed: the published count.

    "checking" and "unlikely" count.
    """
    return sum(substring_counts(text, words).values())


def epistemic_words(text: str, words: Sequence[str] = EPISTEMIC_WORDS) -> int:
    """Occurrences of the words as whole words, in any case: "checking" does not count."""
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
    return re.compile(rf"\b(?:{alternatives})\b", re.IGNORECASE)

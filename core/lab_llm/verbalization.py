"""Epistemic verbalization: words with which a response voices doubt or turns around."""

import re

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

_WHOLE_WORD = re.compile(rf"\b(?:{'|'.join(EPISTEMIC_WORDS)})\b", re.IGNORECASE)


def epistemic_count(text: str) -> int:
    """Occurrences of the ten words as substrings, in any case, summed: the published count.

    "checking" and "unlikely" count.
    """
    lowered = text.lower()
    return sum(lowered.count(word) for word in EPISTEMIC_WORDS)


def epistemic_words(text: str) -> int:
    """Occurrences of the ten words as whole words, in any case: "checking" does not count."""
    return len(_WHOLE_WORD.findall(text))

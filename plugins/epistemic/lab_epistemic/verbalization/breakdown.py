"""Totals of a set: its words of uncertainty, one by one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lab_llm.evaluation.accuracy import Graded
from lab_llm.text.epistemic_words import substring_counts, word_counts


@dataclass(frozen=True)
class Breakdown:
    """Totals of one set: over all its responses, of all words together and of each by itself."""

    problems: int
    responses: int
    tokens: int
    epistemic_words: int
    epistemic_count: int
    whole_words: Mapping[str, int]
    """Word -> matches as a whole word; they add up to `epistemic_words`."""
    published: Mapping[str, int]
    """Word -> occurrences as a substring; they add up to `epistemic_count`."""


def per_thousand(count: int, tokens: int) -> float:
    """Words in 1,000 tokens; 0 of none."""
    return 1000 * count / tokens if tokens else 0.0


def breakdown(graded: Sequence[Graded], words: Sequence[str]) -> Breakdown:
    """The totals of one set's problems."""
    texts = [text for g in graded for text in g.texts]
    whole = [word_counts(text, words) for text in texts]
    published = [substring_counts(text, words) for text in texts]
    return Breakdown(
        problems=len(graded),
        responses=len(texts),
        tokens=sum(sum(g.lengths) for g in graded),
        epistemic_words=sum(sum(counts.values()) for counts in whole),
        epistemic_count=sum(sum(counts.values()) for counts in published),
        whole_words={word: sum(counts[word] for counts in whole) for word in words},
        published={word: sum(counts[word] for counts in published) for word in words},
    )

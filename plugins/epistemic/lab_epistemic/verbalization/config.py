"""Settings of the verbalization evaluator."""

from typing import Annotated

from annotated_types import Ge
from lab_llm.evaluation.config import AccuracyConfig
from lab_llm.text.epistemic_words import EPISTEMIC_WORDS, Words
from labrun import schema


@schema
class VerbalizationConfig(AccuracyConfig):
    """What `accuracy` scores, and the words of uncertainty in the same completions, one by one."""

    max_new_tokens: Annotated[int, Ge(1)] = 128
    """Longest completion (tokens)."""
    words: Words = EPISTEMIC_WORDS
    """What is counted, in any case; no two alike."""
    num_shown: Annotated[int, Ge(0)] = 12
    """Completions of each set on the page with the words marked: the first of every problem, then
    the second ones (count)."""
    completions: str | tuple[str, ...] = ""
    """Stored completions, counted in place of sampled ones: a file, a glob, a run's directory, or a
    list of these. JSONL, one completion a line: `completion`, and where they are there `id`,
    `tokens` and `correct`. A file is scored under its name. Empty: sample."""

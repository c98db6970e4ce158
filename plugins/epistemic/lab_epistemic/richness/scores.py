"""Scores of a level, means over problems, and what `richness.json` says of all of them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from lab_llm.text.epistemic_words import epistemic_count, epistemic_words
from labrun import Score
from labrun.results.statistics.intervals import Interval, t_interval

from lab_epistemic.richness.config import Level
from lab_epistemic.richness.responses import Asked

INTERVAL = "95%, Student's t over problems"


@dataclass(frozen=True)
class LevelResult:
    """A level's responses by the problem's place among the kept ones, and its counts of problems.

    `counts`: `num_problems`, `truncated`, and `num_unmarked` or `num_lost` where they apply.
    """

    level: Level
    asked: Mapping[int, Asked]
    counts: Mapping[str, int]

    def by_problem(self, words: Sequence[str]) -> dict[str, dict[int, float]]:
        """Metric -> the problem's place -> its value, a mean over the responses."""
        found = {i: problem_metrics(one, words) for i, one in self.asked.items()}
        names = next(iter(found.values()))
        return {name: {i: values[name] for i, values in found.items()} for name in names}


def problem_metrics(asked: Asked, words: Sequence[str]) -> dict[str, float]:
    """Means over the responses to one problem; the rate is of all words over all tokens."""
    responses = asked.responses
    whole = [epistemic_words(response.text, words) for response in responses]
    lengths = [response.tokens for response in responses]
    return {
        "accuracy": fmean(response.reward for response in responses),
        "completion_length": fmean(lengths),
        "epistemic_words": fmean(whole),
        "epistemic_count": fmean(epistemic_count(response.text, words) for response in responses),
        "epistemic_words_per_1k": 1000 * sum(whole) / sum(lengths),
    }


def scores(result: LevelResult, words: Sequence[str]) -> list[Score]:
    """The metrics and the counts. They have no items: other runs keep other problems."""
    found = [
        Score(result.level, metric, fmean(by.values()), len(by))
        for metric, by in result.by_problem(words).items()
    ]
    size = len(result.asked)
    return found + [Score(result.level, name, n, size) for name, n in result.counts.items()]


def summary(results: Sequence[LevelResult], words: Sequence[str]) -> dict[str, object]:
    """Each level's counts, its means, and its differences to `none`, paired by problem."""
    unguided = next(
        (result.by_problem(words) for result in results if result.level == "none"), None
    )
    levels: dict[str, object] = {}
    for result in results:
        items = result.by_problem(words)
        told: dict[str, object] = {"counts": dict(result.counts), "metrics": _bounds(items)}
        if unguided is not None and result.level != "none":
            told["less_none"] = _bounds(
                {
                    metric: {i: value - unguided[metric][i] for i, value in by.items()}
                    for metric, by in items.items()
                }
            )
        levels[result.level] = told
    return {"interval": INTERVAL, "levels": levels}


def _bounds(items: Mapping[str, Mapping[int, float]]) -> dict[str, dict[str, float | int | None]]:
    return {metric: _bounded(t_interval([*by.values()])) for metric, by in items.items()}


def _bounded(found: Interval) -> dict[str, float | int | None]:
    """An interval as JSON, which has no NaN: one problem has no interval."""
    known = not math.isnan(found.half_width)
    return {
        "mean": found.mean,
        "low": found.mean - found.half_width if known else None,
        "high": found.mean + found.half_width if known else None,
        "n": found.n,
    }

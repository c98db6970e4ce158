"""Epistemic verbalization: how often a model voices uncertainty, beside its accuracy and length."""

import json
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING

from lab_llm.evaluator import AccuracyEvaluator, Graded, replace
from lab_llm.policy import Policy
from lab_llm.problems import ProblemSets
from lab_llm.verbalization import epistemic_count, epistemic_words, substring_counts, word_counts
from labrun import Score

from lab_epistemic import stored_completions, verbalization_figure, verbalization_page
from lab_epistemic.verbalization_config import VerbalizationConfig

if TYPE_CHECKING:
    from labrun.context import RunContext

COUNTS = {"epistemic_words": epistemic_words, "epistemic_count": epistemic_count}
KINDS = {"published": substring_counts, "whole_words": word_counts}


class VerbalizationEvaluator(AccuracyEvaluator):
    """Scores what `accuracy` does, with the words of its config, and the counts a token.

    `epistemic_words_per_1k` and `epistemic_count_per_1k`: words in 1,000 tokens, all words over all
    tokens of the set; their items are those of each problem.
    """

    folder = "verbalization/"

    def __init__(self, config: VerbalizationConfig) -> None:
        super().__init__(config)
        self.config: VerbalizationConfig = config
        self.words = config.words

    def preflight(self) -> dict[str, object]:
        files = stored_completions.files(self.config.completions)
        facts = super().preflight()
        if not self.config.completions:
            return facts
        return {"completions": {path.stem: len(lines) for path, lines in files.items()}}

    def evaluate(self, ctx: "RunContext", model: Policy, data: ProblemSets) -> list[Score]:
        """Scores of every evaluation set, or of every file of stored completions.

        `artifacts/verbalization.html`, `.png` and `.json` hold the words of the last evaluation;
        sampled completions lie in `artifacts/verbalization/`.
        """
        if not self.config.completions:
            return super().evaluate(ctx, model, data)
        found = stored_completions.graded(self.config.completions, model.tokenizer)
        self._write_words(ctx, found)
        return [score for name, graded in found.items() for score in self._stored(name, graded)]

    def _report(self, ctx: "RunContext", graded: Mapping[str, list[Graded]]) -> list[Score]:
        self._write_words(ctx, graded)
        return super()._report(ctx, graded)

    def _scores(self, name: str, graded: Sequence[Graded]) -> list[Score]:
        return super()._scores(name, graded) + self._densities(name, graded)

    def _stored(self, name: str, graded: Sequence[Graded]) -> list[Score]:
        """Those of the scores that stored completions have; accuracy where all are graded."""
        known = all(g.rewards for g in graded)
        items = {"accuracy": [fmean(g.rewards) for g in graded]} if known else {}
        items["completion_length"] = [fmean(g.lengths) for g in graded]
        for metric, count in COUNTS.items():
            items[metric] = [fmean(count(t, self.words) for t in g.texts) for g in graded]
        scores = [
            Score(task=name, metric=metric, value=fmean(values), n=len(values), items=values)
            for metric, values in items.items()
        ]
        return scores + self._densities(name, graded)

    def _densities(self, name: str, graded: Sequence[Graded]) -> list[Score]:
        tokens = [sum(g.lengths) for g in graded]
        scores = []
        for metric, count in COUNTS.items():
            found = [sum(count(text, self.words) for text in g.texts) for g in graded]
            items = [per_thousand(n, of) for n, of in zip(found, tokens, strict=True)]
            value = per_thousand(sum(found), sum(tokens))
            scores.append(Score(name, f"{metric}_per_1k", value, len(items), items))
        return scores

    def _write_words(self, ctx: "RunContext", graded: Mapping[str, list[Graded]]) -> None:
        if ctx.rank > 0:
            return
        words = self.words
        found = {name: breakdown(of_set, words) for name, of_set in graded.items()}
        replace(ctx, "verbalization.json", json.dumps(found, indent=1) + "\n")
        shown = self.config.num_shown
        page = verbalization_page.page(graded, words=words, num_shown=shown, title=ctx.run_id)
        replace(ctx, "verbalization.html", page)
        ctx.figure("verbalization", verbalization_figure.draw(found))


def per_thousand(count: int, tokens: int) -> float:
    """Words in 1,000 tokens; 0 of none."""
    return 1000 * count / tokens if tokens else 0.0


def breakdown(graded: Sequence[Graded], words: Sequence[str]) -> dict[str, object]:
    """Responses, tokens, and each word's total: as published (substrings) and as whole words."""
    texts = [text for g in graded for text in g.texts]
    totals = {
        kind: {word: sum(count(text, words)[word] for text in texts) for word in words}
        for kind, count in KINDS.items()
    }
    return {"responses": len(texts), "tokens": sum(sum(g.lengths) for g in graded), **totals}

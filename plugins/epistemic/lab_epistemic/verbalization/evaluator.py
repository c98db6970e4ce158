"""Epistemic verbalization: how often a model voices uncertainty, beside its accuracy and length."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from lab_llm.evaluation.accuracy import COUNTS, AccuracyEvaluator, Graded
from lab_llm.policy.policy import KnownPolicy, Policy
from lab_llm.problems import ProblemSets
from labrun import Score

from lab_epistemic.verbalization import figure as verbalization_figure
from lab_epistemic.verbalization import page as verbalization_page
from lab_epistemic.verbalization import stored_completions
from lab_epistemic.verbalization.breakdown import breakdown, per_thousand
from lab_epistemic.verbalization.config import VerbalizationConfig
from lab_epistemic.verbalization.samples import FOLDER

if TYPE_CHECKING:
    from labrun.runs.context import RunContext


class VerbalizationEvaluator(AccuracyEvaluator):
    """Scores what `accuracy` does, with the words of its config, and two counts more.

    `epistemic_words_per_1k` and `epistemic_count_per_1k`: in 1,000 tokens. The value is the ratio
    of the sums, all words of the set over all its tokens, and not the mean of the items; an item is
    the same ratio of one problem's responses.
    """

    folder = FOLDER
    section = "verbalization"

    def __init__(self, config: VerbalizationConfig) -> None:
        super().__init__(config)
        self.config: VerbalizationConfig = config  # pyrefly: ignore[bad-override-mutable-attribute]
        self.words = config.words

    @property
    def engine_settings(self) -> VerbalizationConfig | None:
        """What opens its engine; None: stored completions need none."""
        return None if self.config.completions else self.config

    def _facts(self) -> dict[str, object]:
        if not self.config.completions:
            return super()._facts()
        files = stored_completions.files(self.config.completions)
        stored_completions.check_pass_k(files, self.config.pass_k)
        return {"completions": {path.stem: len(lines) for path, lines in files.items()}}

    def _check_policy(self, policy: KnownPolicy, data: ProblemSets) -> None:
        """LabError where the model has no room for its completions; stored ones need none."""
        if not self.config.completions:
            super()._check_policy(policy, data)

    def evaluate(self, ctx: "RunContext", model: Policy, data: ProblemSets) -> list[Score]:
        """Scores of every evaluation set, or of every file of stored completions.

        `artifacts/verbalization.html`, `.png` and `.json` hold the words of the last evaluation;
        sampled completions lie in `artifacts/verbalization/`.
        """
        if not self.config.completions:
            return super().evaluate(ctx, model, data)
        self._facts()
        found, notes = stored_completions.graded(self.config.completions, model.tokenizer)
        for note in notes:
            ctx.note(f"verbalization: {note}")
        self._write_words(ctx, found)
        return [score for name, graded in found.items() for score in self._scores(name, graded)]

    def _report(self, ctx: "RunContext", graded: Mapping[str, list[Graded]]) -> list[Score]:
        self._write_words(ctx, graded)
        return super()._report(ctx, graded)

    def _scores(self, name: str, graded: Sequence[Graded]) -> list[Score]:
        return super()._scores(name, graded) + self._densities(name, graded)

    def _outcomes(self, graded: Sequence[Graded]) -> dict[str, list[float]]:
        """None where some of the completions have no rewards: stored ones may have none."""
        return super()._outcomes(graded) if all(g.rewards for g in graded) else {}

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
        if ctx.rank > 0 or not graded:
            return
        words = self.words
        found = {name: breakdown(of_set, words) for name, of_set in graded.items()}
        plain = {name: asdict(of_set) for name, of_set in found.items()}
        ctx.write_text("verbalization.json", json.dumps(plain, indent=1) + "\n")
        num_shown = self.config.num_shown
        page = verbalization_page.page(
            graded, found, words=words, num_shown=num_shown, title=ctx.run_id
        )
        ctx.write_text("verbalization.html", page)
        ctx.figure("verbalization", verbalization_figure.draw(found))

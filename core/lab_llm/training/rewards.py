"""The reward of each completion, and its text, which the teacher may be shown."""

from collections.abc import Sequence
from typing import Any

from lab_llm.grading.grades import grade_all
from lab_llm.policy.policy import Policy
from lab_llm.problems import ProblemSets, Verify
from lab_llm.text.completion_text import completion_text
from lab_llm.text.epistemic_words import epistemic_count, epistemic_words
from lab_llm.text.prompts import encode
from lab_llm.training.step_metrics import StepMetrics


class Rewards:
    """The verifier as TRL's reward function; `texts` are those of the last batch."""

    def __init__(
        self, policy: Policy, sets: ProblemSets, *, words: Sequence[str], metrics: StepMetrics
    ) -> None:
        self.sets, self.texts = sets, list[str]()
        self._tokenizer, self._words, self._metrics = policy.tokenizer, words, metrics

    def grade(
        self, completion_ids: list[list[int]], index: list[int], **_: Any
    ) -> list[float | None]:
        """The verifier's reward of every completion.

        The texts are made of the ids: TRL's own lack the thinking where the tokenizer has a
        response template.
        """
        metrics = self._metrics
        with metrics.timed("verify"):
            self.texts = self._completion_texts(completion_ids, index)
            problems = [self.sets.train[i] for i in index]
            grades = grade_all(self._rule, problems, self.texts)
        num, rewards = len(self.texts), grades.rewards
        metrics.add("pass_rate", sum(r == 1.0 for r in rewards) / len(rewards))
        metrics.add("grading_timeout_fraction", sum(grades.timed_out) / num)
        total = sum(epistemic_words(text, self._words) for text in self.texts)
        metrics.add("epistemic_words", total / num)
        total = sum(epistemic_count(text, self._words) for text in self.texts)
        metrics.add("epistemic_count", total / num)
        return [*rewards]

    @property
    def _rule(self) -> Verify:
        return self.sets.verify if self.sets.reward is None else self.sets.reward

    def _completion_texts(
        self, completion_ids: Sequence[Sequence[int]], index: Sequence[int]
    ) -> list[str]:
        prompts = {i: encode(self._tokenizer, self.sets.train[i].prompt) for i in set(index)}
        return [
            completion_text(self._tokenizer, ids, prompt_ids=prompts[i])
            for ids, i in zip(completion_ids, index, strict=True)
        ]

"""The teacher: what it is shown, which rollouts it reads, and the prompts made of that."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from lab_llm.problems import Forms, Problem
from lab_llm.text.prompts import encode, with_solution
from lab_llm.training.config import Context, TeacherSettings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Scored = Literal["correct", "mixed", "every"]
Richness = Literal["solution", "without_thinking", "answer"]
SHOW_LESS = (
    "show the teacher less (trainer.teacher_context=answer; where the loss distils: "
    "trainer.distillation.max_context_length)"
)
"""What to do where a teacher's prompt is too long."""


@dataclass(frozen=True)
class Teacher:
    """The policy, or a copy of it, that reads the rollouts after a prompt with a solution.

    A rollout for which there is no such solution is not read.
    """

    context: Context
    """The solution: a correct rollout of the group, the dataset's, or the answer alone."""
    template: str
    """How it enters the last user message, with {prompt} and {solution}."""
    scored: Scored
    """The rollouts that it reads: correct ones in groups of unequal rewards, all in such groups, or
    every one."""
    gives: Literal["logprobs", "sequences"] = "logprobs"
    """What the rollouts get: its log-probabilities of their tokens, or what it reads, for a loss
    that runs it itself."""
    allow_itself: bool = True
    """A rollout may be the solution that its own teacher is shown."""
    richness: Richness = "solution"
    """How much of the solution it is shown (`DistillationConfig.richness`)."""
    max_context_length: int | None = None
    """Longest solution (tokens); None: as long as it is."""


def distilling_teacher(settings: TeacherSettings) -> Teacher:
    """SDPO's teacher: it reads every rollout, and the loss runs it."""
    config = settings.distillation
    return Teacher(
        context=settings.teacher_context,
        template=settings.template,
        scored="every",
        gives="sequences",
        allow_itself=not config.dont_reprompt_on_self_success,
        richness=config.richness,
        max_context_length=config.max_context_length,
    )


@dataclass(frozen=True)
class GradedRollouts:
    """The rollouts of all ranks in their order: decoded texts and rewards, G to a prompt."""

    texts: Sequence[str]
    rewards: Sequence[float]
    group_size: int
    """G."""

    def correct_sibling(
        self,
        row: int,
        seed: Callable[[int], np.random.Generator],
        *,
        allow_itself: bool = True,
    ) -> str | None:
        """A correct rollout of the row's group: another one, else itself if allowed, else None.

        Two are drawn for a group, the second for the row of the first: the teacher reads two
        contexts a group and not one a rollout. `seed`: group's number -> generator.
        """
        group = row // self.group_size
        rows = range(group * self.group_size, (group + 1) * self.group_size)
        correct = [i for i in rows if self.rewards[i] == 1.0]
        if not correct or (correct == [row] and not allow_itself):
            return None
        first, second = seed(group).permutation(correct)[[0, min(1, len(correct) - 1)]]
        return self.texts[int(second if row == first else first)]


@dataclass(frozen=True)
class TeacherPrompts:
    """The prompts that the teacher reads before the rollouts of one batch."""

    teacher: Teacher
    tokenizer: "PreTrainedTokenizerBase"
    forms: Forms
    """What a solution's parts are."""
    graded: GradedRollouts
    seed: Callable[[int], np.random.Generator]
    """Group's number -> generator that draws the sibling."""
    count: Callable[[str], None]
    """Told what was shown, by name: a context, `unmarked`, `truncated`."""
    _encoded: dict[tuple[int, str], list[int]] = field(default_factory=dict)
    """(group, solution) -> token ids of the prompt."""

    def of(self, problem: Problem, row: int) -> list[int] | None:
        """Token ids of the prompt with the solution for the row-th rollout; None: no solution."""
        text = self.shown(problem, row)
        if text is None:
            return None
        group = row // self.graded.group_size
        if (group, text) not in self._encoded:
            messages = with_solution(problem.prompt, text, self.teacher.template)
            self._encoded[group, text] = encode(self.tokenizer, messages)
        return self._encoded[group, text]

    def shown(self, problem: Problem, row: int) -> str | None:
        """The text that the teacher of the row-th rollout is shown; None: there is none."""
        solution, used = self.solution(problem, row)
        if solution is None:
            return None
        self.count(used)
        return self._shortened(self._abridged(problem, solution))

    def solution(self, problem: Problem, row: int) -> tuple[str | None, Context]:
        """The solution and what it is: `reference_solution` falls back to the answer."""
        teacher = self.teacher
        if teacher.context == "sibling":
            drawn = self.graded.correct_sibling(row, self.seed, allow_itself=teacher.allow_itself)
            return drawn, "sibling"
        if teacher.context == "reference_solution" and problem.solution is not None:
            return problem.solution, "reference_solution"
        return problem.answer, "answer"

    def _abridged(self, problem: Problem, solution: str) -> str:
        """What of the solution `richness` leaves."""
        richness = self.teacher.richness
        if richness == "solution":
            return solution
        if richness == "answer":
            return self.forms.answer(problem, solution)
        left = self.forms.without_thinking(problem, solution)
        if left is None:
            self.count("unmarked")
        return solution if left is None else left

    def _shortened(self, solution: str) -> str:
        """Its first `max_context_length` tokens."""
        limit = self.teacher.max_context_length
        if limit is None:
            return solution
        tokenizer: Any = self.tokenizer
        ids = tokenizer(solution, add_special_tokens=False)["input_ids"]
        if len(ids) <= limit:
            return solution
        self.count("truncated")
        return str(tokenizer.decode(ids[:limit]))

"""The prompts of a run, as its model's chat template renders them before work."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from lab_llm.policy.policy import PolicyFiles
from lab_llm.policy.tokenizer_files import template_place
from lab_llm.problems import Problem, ProblemSets
from lab_llm.text import template_checks
from lab_llm.text.prompts import with_solution


def check_prompts(policy: PolicyFiles, sets: ProblemSets, *, template: str | None) -> None:
    """LabError where the model's chat template cannot tell the prompts of the run apart.

    `template`: the form in which a teacher meets a solution; None: there is no teacher.
    """
    model = policy.settings
    named: dict[str, Sequence[Problem]] = {"training set": sets.train}
    named |= {f"evaluation set {name!r}": found for name, found in sets.evaluation.items()}
    if template is not None:
        named["teacher's prompts"] = [_told(problem, template) for problem in sets.train[:2]]
    template_checks.check_prompts(
        policy.tokenizer, _sets(named), thinking=model.thinking, where=template_place(model)
    )


def _told(problem: Problem, template: str) -> Problem:
    """The problem with its solution in the prompt."""
    shown = problem.answer if problem.solution is None else problem.solution
    return replace(problem, prompt=tuple(with_solution(problem.prompt, shown, template)))


def _sets(named: Mapping[str, Sequence[Problem]]) -> dict[str, Sequence[Problem]]:
    return {name: problems for name, problems in named.items() if problems}

"""Verifiers: 1.0 where a completion answers its problem correctly, else 0.0.

Each grades by a rule of `lab_llm.grading`, in processes of its own that have no rights and a limit
in CPU seconds for every grading.
"""

from collections.abc import Callable, Mapping, Sequence

from labrun.errors import LabError, nearest

from lab_llm.grading.final_answer import extract_answer, last_boxed
from lab_llm.grading.grades import Grades
from lab_llm.grading.own_rule import OwnRule, own_rule
from lab_llm.grading.pool import Arguments, GraderPool
from lab_llm.problems import Problem

__all__ = [
    "RULES",
    "PooledVerifier",
    "extract_answer",
    "last_boxed",
    "rule_of",
    "verify_math",
    "verify_published",
    "verify_reasoning_gym",
]

LIMIT_S = 2.0
"""CPU time of one grading (seconds); one that takes longer earns nothing."""
PUBLISHED_LIMIT_S = 5.0
"""The same of the published training reward of arXiv 2603.24472 (its own alarm)."""


class PooledVerifier:
    """A verifier whose rule runs in grader processes.

    `rule` is `module:function` with the arguments that `arguments(problem)` gives, then the
    completion's text; it returns a reward. `limit_s` is the CPU time of one grading.
    """

    def __init__(
        self, rule: str, arguments: Callable[[Problem], Arguments], *, limit_s: float = LIMIT_S
    ) -> None:
        self.pool = GraderPool(rule, limit_s=limit_s)
        self._arguments = arguments

    def __call__(self, problem: Problem, completion: str) -> float:
        """1.0 iff the completion is right, else 0.0; also where its grading did not end."""
        return self.grade_all([problem], [completion]).rewards[0]

    def grade_all(self, problems: Sequence[Problem], completions: Sequence[str]) -> Grades:
        """Grades of `completions[i]`, an answer to `problems[i]`."""
        pairs = zip(problems, completions, strict=True)
        found = self.pool.grade_all([(*self._arguments(p), text) for p, text in pairs])
        return Grades([one.reward for one in found], [not one.ended for one in found])


verify_math = PooledVerifier("lab_llm.grading.math_rule:reward", lambda problem: (problem.answer,))
"""Whether the final answer equals `problem.answer` (docs/grading.md)."""
verify_published = PooledVerifier(
    "lab_llm.grading.published_rule:reward",
    lambda problem: (problem.answer,),
    limit_s=PUBLISHED_LIMIT_S,
)
"""The training reward of the published code of arXiv 2603.24472 (docs/grading.md)."""
verify_reasoning_gym = PooledVerifier(
    "lab_llm.grading.gym_rule:reward", lambda problem: (dict(problem.payload),)
)
"""Whether the task's own scorer gives full marks; `problem.payload` holds the task's entry."""

RULES: Mapping[str, PooledVerifier] = {"math_verify": verify_math, "published": verify_published}
"""What `dataset.reward` of llm.rows may name, beside a function of the user's own."""


def rule_of(name: str, *, key: str) -> PooledVerifier | OwnRule:
    """The verifier that `key` names: one of RULES, or a function of the user's own.

    Raises LabError, naming the key, where it is neither.
    """
    if name in RULES:
        return RULES[name]
    module, colon, function = name.partition(":")
    if not (colon and function.isidentifier() and all(map(str.isidentifier, module.split(".")))):
        near = nearest(name, RULES)
        hint = f"did you mean {near}? " if near else ""
        raise LabError(
            f"{key}={name}: no rule; {hint}allowed: {', '.join(RULES)}, or module:function of an "
            "installed package"
        )
    try:
        return own_rule(name, limit_s=LIMIT_S)
    except LabError as error:
        raise LabError(f"{key}={error}") from error

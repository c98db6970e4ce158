"""Rewards of many completions by one verifier, whoever wrote it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from labrun.errors import LabError

from lab_llm.problems import Problem, Verify

SHOWN_CHARS = 80
"""So much of a completion stands in an error message."""


@dataclass(frozen=True)
class Grades:
    """One entry a completion, in order."""

    rewards: list[float]
    """In [0, 1]; 0.0 where the grader ran out of time."""
    timed_out: list[bool]
    """Whether the grader ran out of time (or of memory)."""


@runtime_checkable
class BatchVerifier(Protocol):
    """A verifier that grades many completions faster than one by one."""

    def __call__(self, problem: Problem, completion: str) -> float: ...

    def grade_all(self, problems: Sequence[Problem], completions: Sequence[str]) -> Grades:
        """Grades of `completions[i]`, an answer to `problems[i]`."""
        ...


def grade_all(verify: Verify, problems: Sequence[Problem], completions: Sequence[str]) -> Grades:
    """Grades of `completions[i]`, an answer to `problems[i]`.

    Raises LabError, naming the problem, where a verifier raises, or gives something else than a
    number from 0 to 1.
    """
    if isinstance(verify, BatchVerifier):
        return verify.grade_all(problems, completions)
    pairs = zip(problems, completions, strict=True)
    rewards = [_reward(verify, problem, completion) for problem, completion in pairs]
    return Grades(rewards, [False] * len(rewards))


def _reward(verify: Verify, problem: Problem, completion: str) -> float:
    try:
        reward = verify(problem, completion)
    except LabError:
        raise
    except Exception as error:  # a verifier is its author's code: say on what it failed
        raise LabError(
            f"the verifier raised {type(error).__name__}: {error} for {problem.id}, completion "
            f"{completion!r:.{SHOWN_CHARS}}; mend the verifier"
        ) from error
    if isinstance(reward, bool) or not isinstance(reward, int | float):
        reward_is = f"{reward!r:.{SHOWN_CHARS}}"
    elif not 0.0 <= reward <= 1.0:
        reward_is = str(reward)
    else:
        return float(reward)
    raise LabError(f"the verifier gave {reward_is} for {problem.id}; allowed: a number from 0 to 1")

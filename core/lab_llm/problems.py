"""The unit of language-model data: a problem with a verifiable answer."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from labrun.errors import LabError

Message = Mapping[str, str]


@dataclass(frozen=True)
class Problem:
    """One prompt with its answer.

    `prompt` is a chat, the last message from the user. `answer` is what a verifier compares with;
    `solution` a worked reference solution where there is one. `payload` is whatever the verifier
    needs beyond the answer (countdown's numbers, reasoning-gym's entry), JSON-serialisable.
    """

    id: str
    prompt: tuple[Message, ...]
    answer: str
    solution: str | None = None
    payload: Mapping[str, object] = field(default_factory=dict)


Verify = Callable[[Problem, str], float]
"""(problem, completion text) -> reward in {0, 1}."""


def checked(problem: Problem, reward: float) -> float:
    """The reward itself. Raises LabError where a verifier gave one outside [0, 1]."""
    if not 0.0 <= reward <= 1.0:
        raise LabError(f"the verifier gave {reward} for {problem.id}; allowed: 0 to 1")
    return reward


@dataclass(frozen=True)
class ProblemSets:
    """Training problems, named evaluation sets (`in_domain`, `ood_...`), and their verifier."""

    train: Sequence[Problem]
    evaluation: Mapping[str, Sequence[Problem]]
    verify: Verify

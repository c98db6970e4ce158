"""The unit of language-model data: a problem with a verifiable answer."""

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from labrun.contract import Dataset
from labrun.errors import LabError
from labrun.plan import Setup

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


THINK_START, THINK_END = "<think>", "</think>"
Verify = Callable[[Problem, str], float]
"""(problem, completion text) -> reward from 0 to 1."""


def without_thinking(text: str) -> str | None:
    """`s \\ think`: what follows the thinking; None where the text does not mark any.

    The last `</think>` ends it, also where the prompt opened it, or where the thinking mentions the
    marks. Thinking that never ends leaves what stands before its `<think>`. A pair of marks behind
    which no word follows is text.
    """
    before, closed, answer = text.rpartition(THINK_END)
    if closed and not _has_word(answer) and THINK_START in before:
        return _without_first(text)
    if not closed and THINK_START not in text:
        return None
    return answer.partition(THINK_START)[0].strip() if THINK_START in answer else answer.lstrip()


def _without_first(text: str) -> str | None:
    """The same where nothing follows the last mark: only thinking that leads the text is taken."""
    head, _, rest = text.partition(THINK_END)
    if THINK_START in head and not text.lstrip().startswith(THINK_START):
        return None
    return rest.lstrip()


def _has_word(text: str) -> bool:
    return any(char.isalnum() for char in text)


_CLOSED_THINKING = re.compile(f"{THINK_START}.*?{THINK_END}\\s*", re.DOTALL)
_OPENED_BEFORE = re.compile(f"^.*?{THINK_END}\\s*", re.DOTALL)


def shown_without_thinking(solution: str) -> str | None:
    """`s \\ think` as a teacher is shown it; None where no thinking ends, or nothing else is there.

    Each <think>...</think> is taken out, then what stands before a </think> that is left, whose
    thinking the prompt opened. Text before <think> stays, and so does thinking that never ends
    (arXiv 2603.24472's code). A grader reads a response by `without_thinking`.
    """
    left = _OPENED_BEFORE.sub("", _CLOSED_THINKING.sub("", solution))
    return left if left != solution and left.strip() else None


@dataclass(frozen=True)
class Forms:
    """A response to a problem cut down to less information, for a teacher's context.

    `without_thinking`: s \\ think, or None where the response does not mark its thinking;
    `answer`: the final answer alone.
    """

    without_thinking: Callable[[Problem, str], str | None]
    answer: Callable[[Problem, str], str]


MARKED = Forms(
    without_thinking=lambda _, response: shown_without_thinking(response),
    answer=lambda problem, _: problem.answer,
)
"""<think>...</think> marks the thinking; the answer is the problem's own."""


@dataclass(frozen=True)
class ProblemSets:
    """Training problems, named evaluation sets (`in_domain`, `ood_...`), and their verifier."""

    train: Sequence[Problem]
    evaluation: Mapping[str, Sequence[Problem]]
    verify: Verify
    forms: Forms = MARKED
    reward: Verify | None = None
    """The rule of the training reward, where it is another than `verify`."""


def problem_sets(setup: Setup, *, key: str) -> ProblemSets | None:
    """The problems of the run's dataset; None: they are not known yet.

    Raises LabError, naming `key`, where the dataset's data are something else: what it offers, or
    what its `load` says that it returns; and where two unlike problems of a set have
    the same id.
    """
    if isinstance(setup.data, ProblemSets):
        _check_ids(setup.data)
    if isinstance(setup.data, ProblemSets) or setup.dataset is None:
        return setup.data
    name = type(setup.data).__name__ if setup.data is not None else _loaded(setup.dataset)
    if name not in (ProblemSets.__name__, "_empty", "Any"):
        raise LabError(
            f"{key} works on problems with verifiable answers (ProblemSets), and "
            f"{type(setup.dataset).__name__} loads {name}; take components of one kind"
        )
    return None


def _check_ids(sets: ProblemSets) -> None:
    """LabError where an id stands for two problems: files and results go by it. One problem may
    come again."""
    for name, problems in {"train": sets.train, **sets.evaluation}.items():
        known: dict[str, Problem] = {}
        for problem in problems:
            if known.setdefault(problem.id, problem) != problem:
                raise LabError(
                    f"set {name!r} has two problems with the id {problem.id!r}; the dataset must "
                    "give each its own"
                )


def _loaded(dataset: Dataset) -> str:
    """The name of what `load` says that it returns."""
    returned = inspect.signature(dataset.load).return_annotation
    return returned if isinstance(returned, str) else getattr(returned, "__name__", str(returned))

"""A reward of the user's own: `module:function`, which receives texts and gives 0 to 1."""

import hashlib
import importlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from labrun.errors import LabError, listed, nearest, shown

from lab_llm.grading.grades import SHOWN_CHARS, Grades
from lab_llm.grading.pool import GraderError, GraderPool, Grading
from lab_llm.problems import Problem

TEXTS: Mapping[str, Callable[[Problem], str | None]] = {
    "prompt": lambda problem: problem.prompt[-1]["content"],
    "answer": lambda problem: problem.answer,
    "solution": lambda problem: problem.solution,
}
"""What a function may ask for by the name of a parameter, beside `completion`."""
COMPLETION = "completion"
ADVICE = f"write def reward({COMPLETION}: str, answer: str) -> float"
_PASSED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
_OPEN = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


class OwnRule:
    """A verifier whose function is the user's own. It runs in grader processes without rights.

    `rule` is `module:function`; `limit_s` the CPU time of one grading.
    """

    def __init__(self, rule: str, *, limit_s: float) -> None:
        self.rule = rule
        self._pool = GraderPool(rule, limit_s=limit_s)

    def __call__(self, problem: Problem, completion: str) -> float:
        """The reward; 0.0 where its grading did not end."""
        return self.grade_all([problem], [completion]).rewards[0]

    def grade_all(self, problems: Sequence[Problem], completions: Sequence[str]) -> Grades:
        """Grades of `completions[i]`, an answer to `problems[i]`.

        Raises LabError, naming the problem, where the function raises or gives no number from 0 to
        1; one that uses up its time or memory earns 0.0.
        """
        pairs = list(zip(problems, completions, strict=True))
        found = self._pool.grade_all([self._texts(p, completion) for p, completion in pairs])
        for (problem, completion), grading in zip(pairs, found, strict=True):
            self._refuse(grading, problem, completion)
        return Grades([one.reward for one in found], [not one.ended for one in found])

    def check(self, problem: Problem) -> None:
        """Raises LabError where the function cannot grade an empty completion of the problem."""
        try:
            if any(self.grade_all([problem], [""]).timed_out):
                raise LabError(
                    f"{self.rule} did not end on an empty completion of {problem.id}: it used up "
                    "its time or memory, or ended its process; what is slow once belongs in "
                    "`prepare` of its module"
                )
        except GraderError as error:
            raise LabError(f"{self.rule} cannot grade: {error}; mend its module") from error

    def _texts(self, problem: Problem, completion: str) -> dict[str, str | None]:
        known = {name: text(problem) for name, text in TEXTS.items()} | {COMPLETION: completion}
        return {name: known[name] for name in self._asked}

    @cached_property
    def _asked(self) -> list[str]:
        return asked(self.rule, function_of(self.rule))

    def _refuse(self, grading: Grading, problem: Problem, completion: str) -> None:
        where = f"for {problem.id}, completion {completion!r:.{SHOWN_CHARS}}"
        if grading.fault:
            raise LabError(f"{self.rule} {shown(grading.fault)} {where}; mend it")
        if not 0.0 <= grading.reward <= 1.0:
            raise LabError(
                f"{self.rule} gave {grading.reward} {where}; allowed: a number from 0 to 1"
            )

    def source(self) -> str:
        """The file that holds the function, and the SHA-256 of its content."""
        file = inspect.getsourcefile(function_of(self.rule))
        if file is None:
            return "no source"
        return f"{file}, sha256 {hashlib.sha256(Path(file).read_bytes()).hexdigest()[:12]}"


@lru_cache(maxsize=16)
def own_rule(rule: str, *, limit_s: float) -> OwnRule:
    """The verifier of a function, the same for equal names: its processes start once.

    Raises LabError, in one line, where the module is missing or broken, or the function is missing
    or asks for something else than texts.
    """
    asked(rule, function_of(rule))
    return OwnRule(rule, limit_s=limit_s)


def function_of(rule: str) -> Callable[..., Any]:
    """The function that `module:function` names. Raises LabError where there is none."""
    module_name, _, name = rule.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise _broken(rule, error) from error
        raise LabError(
            f"{rule}: no module {error.name!r}; install the package that holds it, or mend the name"
        ) from error
    except (Exception, SystemExit) as error:  # its author's code: say that it is at fault
        raise _broken(rule, error) from error
    function = getattr(module, name, None)
    if function is None:
        names = [n for n, v in vars(module).items() if inspect.isfunction(v) and n[0] != "_"]
        near = nearest(name, names)
        hint = f"did you mean {near!r}? " if near else ""
        held = listed(names, near=name) if names else "none"
        raise LabError(f"{rule}: {module_name} has no {name!r}; {hint}its functions: {held}")
    _check_prepare(rule, getattr(module, "prepare", None))
    if not callable(function):
        raise LabError(f"{rule} is {function!r:.{SHOWN_CHARS}}, no function; {ADVICE}")
    return function


def _check_prepare(rule: str, prepare: object) -> None:
    """The graders call it without arguments, before they grade."""
    if prepare is None:
        return
    if not callable(prepare) or any(
        p.default is p.empty and p.kind not in _OPEN
        for p in inspect.signature(prepare).parameters.values()
    ):
        raise LabError(
            f"{rule}: `prepare` of its module is called once before grading, without arguments; "
            "rename it where it is something else"
        )


def _broken(rule: str, error: BaseException) -> LabError:
    reason = shown(f"{type(error).__name__}: {error}")
    return LabError(f"{rule}: its module cannot be imported, {reason}; mend it")


def asked(rule: str, function: Callable[..., Any]) -> list[str]:
    """The texts that the function asks for. Raises LabError where it asks for something else, or
    not for the completion."""
    if inspect.iscoroutinefunction(function) or inspect.isclass(function):
        kind = "a class" if inspect.isclass(function) else "an async function"
        raise LabError(f"{rule} is {kind}; {ADVICE}")
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError as error:
        raise LabError(f"{rule} does not show its parameters; {ADVICE}") from error
    if ordered := [p.name for p in parameters if p.kind is inspect.Parameter.POSITIONAL_ONLY]:
        raise LabError(f"{rule} takes {ordered[0]!r} by position alone; {ADVICE}")
    known = [p.name for p in parameters if p.kind in _PASSED and p.name in (COMPLETION, *TEXTS)]
    for one in parameters:
        needed = one.default is one.empty and one.kind not in _OPEN
        if one.name not in known and needed:
            allowed = ", ".join((COMPLETION, *TEXTS))
            raise LabError(f"{rule} asks for {one.name!r}; allowed: {allowed}; {ADVICE}")
    if COMPLETION not in known:
        raise LabError(f"{rule} has no parameter {COMPLETION!r}; {ADVICE}")
    return known

"""The rule of reasoning-gym: the task's own scorer, on an answer that is never evaluated as Python.

Nine scorers call `eval` or sympy's `parse_expr` (which evaluates, too) on the answer. Here they get
functions that read literals and formulas only. The rule runs in a grader's process without rights
besides (see `lab_llm.grading.worker`).
"""

import ast
import builtins
import cmath
import importlib
import json
import keyword
import re
from collections.abc import Callable, Mapping
from fractions import Fraction
from functools import lru_cache
from types import ModuleType
from typing import Any

from lab_llm.grading.final_answer import extract_answer

READ_AS_LITERALS = ("binary_matrix", "n_queens", "spiral_matrix", "string_insertion")
READ_AS_FORMULAS = (
    "countdown",
    "intermediate_integration",
    "polynomial_multiplication",
    "puzzle24",
    "simple_integration",
)
EVALUATES_TEXT = (*READ_AS_LITERALS, *READ_AS_FORMULAS)
"""Tasks whose scorer in reasoning-gym runs the answer as Python."""

FUNCTIONS = frozenset(
    "Abs E I abs acos acosh acot acoth asin asinh atan atanh cos cosh cot coth csc erf exp "  # noqa: SIM905
    "factorial ln log pi sec sin sinh sqrt tan tanh".split()
)
"""Names that a formula may hold; others that sympy or Python knows are refused."""
_FORMULA = re.compile(r"(?:\d+\.?\d*|\.\d+|[A-Za-z]\w*|[-+*/()!,\s])*+", re.ASCII)
_NAME = re.compile(r"[A-Za-z]\w*", re.ASCII)


def prepare() -> None:
    """Import reasoning-gym, which takes seconds, before any answer is graded."""
    importlib.import_module("reasoning_gym")


def reward(payload: Mapping[str, Any], completion: str) -> float:
    """1.0 iff the task gives the completion's answer full marks; partial scores are 0.0.

    `payload` holds `task`, `task_params` and `entry`, and `bare_answer` where a number is enough.
    """
    name, entry = payload["task"], payload["entry"]
    answer = extract_answer(completion, bare=payload.get("bare_answer", "line"))
    task = _task(name, json.dumps(payload["task_params"], sort_keys=True))
    if name in STRICTER and not STRICTER[name](task, answer, entry):
        return 0.0
    try:
        score = task.score_answer(answer=answer, entry=entry)
    # Some tasks raise, each its own way, on text that isn't of the answer's form
    # (prime_factorization: ValueError, game_of_life: KeyError): a wrong answer.
    except Exception:
        return 0.0
    return float(score >= 1.0)


@lru_cache(maxsize=64)
def _task(name: str, params_json: str) -> Any:
    from reasoning_gym import create_dataset

    task = create_dataset(name, size=1, **json.loads(params_json))
    _guard(name, importlib.import_module(type(task).__module__))
    return task


def _guard(name: str, module: ModuleType) -> None:
    """Give the task's module functions that do not run text in place of those that do."""
    if name in READ_AS_LITERALS:
        vars(module)["eval"] = ast.literal_eval  # there it hides the builtin
    elif name in READ_AS_FORMULAS:
        for alias in ("sympy", "sp"):
            if isinstance(getattr(module, alias, None), ModuleType):
                vars(module)[alias] = _GuardedSympy(alias)
        if hasattr(module, "parse_expr"):
            vars(module)["parse_expr"] = formula


class _GuardedSympy(ModuleType):
    """sympy with `parse_expr` replaced."""

    def __getattr__(self, name: str) -> Any:
        import sympy

        return formula if name == "parse_expr" else getattr(sympy, name)


def formula(text: str, local_dict: Mapping[str, Any] | None = None) -> Any:
    """The sympy expression of a formula: numbers, + - * / ** ( ) !, FUNCTIONS and symbols.

    Raises ValueError for anything else, such as an attribute, a string or another name of sympy:
    `parse_expr` itself evaluates its text as Python.
    """
    import sympy

    if not _FORMULA.fullmatch(text):
        raise ValueError(f"no formula: {text!r:.80}")
    known = {*FUNCTIONS, *(local_dict or {})}
    for name in set(_NAME.findall(text)) - known:
        if hasattr(sympy, name) or hasattr(builtins, name) or keyword.iskeyword(name):
            raise ValueError(f"a formula may not hold the name {name!r}")
    return sympy.parse_expr(text, local_dict=dict(local_dict or {}))


def _names_truth_value(_: Any, answer: str, entry: Mapping[str, Any]) -> bool:
    """game_of_life_halting itself compares the truth of Python objects: any text is true."""
    return answer.strip().rstrip(".").lower() == str(entry["answer"]).lower()


def _is_finite(task: Any, answer: str, _: Mapping[str, Any]) -> bool:
    """complex_arithmetic itself takes NaN for no distance at all."""
    try:
        return cmath.isfinite(task.parse_string_to_complex(answer))
    except (TypeError, ValueError):
        return False


def _is_near(_: Any, answer: str, entry: Mapping[str, Any]) -> bool:
    """coin_flip itself gives full marks to every beginning of the answer, such as 0, and to 0 where
    the probability is below its tolerance of 1e-4."""
    try:
        found, right = (Fraction(text.replace(",", "")) for text in (answer, entry["answer"]))
    except (ValueError, ZeroDivisionError):
        return False
    return abs(found - right) <= min(Fraction(1, 10_000), right / 100)


def _uses_the_numbers(_: Any, answer: str, entry: Mapping[str, Any]) -> bool:
    """puzzle24 itself takes any four numbers that make 24."""
    used = sorted(int(number) for number in re.findall(r"\d+", answer))
    return used == sorted(int(number) for number in entry["metadata"]["numbers"])


STRICTER: Mapping[str, Callable[[Any, str, Mapping[str, Any]], bool]] = {
    "coin_flip": _is_near,
    "complex_arithmetic": _is_finite,
    "game_of_life_halting": _names_truth_value,
    "puzzle24": _uses_the_numbers,
}
"""Further checks of tasks whose own score gives full marks to wrong answers."""

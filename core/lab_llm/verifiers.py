"""Verifiers: 1.0 where a completion answers its problem correctly, else 0.0."""

import json
import logging
import math
import re
from functools import lru_cache
from typing import Any

from lab_llm.problems import Problem
from lab_llm.templates import strip_thinking

MAX_ANSWER_CHARS = 500
"""A longer boxed text is no answer; it bounds what the parser is given."""
MAX_TAIL_CHARS = 2000
"""Without a box, the answer is looked for in this much of the completion's end."""
MAX_DIGITS = 5000.0
"""An expression whose value may have more digits is not computed."""
MAX_TERMS = 300.0
"""An expression that may have more terms when expanded is not simplified."""

_COMPUTED_BY_PARSER = re.compile(r"(?:binom|gcd|lcm).*(?:\d{5}|[\^!])", re.DOTALL)
"""What the parser computes at once, however large; not given to it."""
_ANSWER_TAG = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


def verify_math(problem: Problem, completion: str) -> float:
    """1.0 iff the completion's answer equals `problem.answer` by math-verify, else 0.0.

    The answer is the last closed \\boxed{}; without any, what math-verify finds last in the text
    after the thinking. math-verify runs without its timeouts (they need the main thread's signals),
    so that an expression too large to compute (a tower of powers, a large factorial) is compared
    as text.
    """
    boxed = last_boxed(completion)
    if boxed is None:
        text = strip_thinking(completion)[-MAX_TAIL_CHARS:]
    elif len(boxed) <= MAX_ANSWER_CHARS:
        text = f"\\boxed{{{boxed}}}"
    else:
        return 0.0
    if _COMPUTED_BY_PARSER.search(text):
        return float(boxed is not None and boxed.strip() == problem.answer.strip())
    return float(_equal(_parse_gold(problem.answer), _parse(text)))


def last_boxed(text: str) -> str | None:
    """What the last \\boxed{} holds that is closed, braces balanced; None where there is none."""
    for match in reversed(list(re.finditer(r"\\f?boxed\s*\{", text))):
        depth = 1
        for end in range(match.end(), len(text)):
            depth += {"{": 1, "}": -1}.get(text[end], 0)
            if depth == 0:
                return text[match.end() : end]
    return None


@lru_cache(maxsize=4096)
def _parse_gold(answer: str) -> tuple[Any, ...]:
    boxed = last_boxed(answer)
    inner = answer.strip().strip("$") if boxed is None else boxed
    return tuple(_parse(f"\\boxed{{{inner}}}"))


def _parse(text: str) -> list[Any]:
    """Sympy expressions and, last, the answer as text; empty where there is no answer."""
    from math_verify import parse

    # It warns at every start that the timeouts are off.
    logging.getLogger("math_verify").setLevel(logging.ERROR)
    return parse(text, parsing_timeout=None, raise_on_error=False)  # pyright: ignore[reportArgumentType]


def _equal(gold: tuple[Any, ...], answer: list[Any]) -> bool:
    from math_verify import verify

    if any(_num_digits(part) > MAX_DIGITS or _num_terms(part) > MAX_TERMS for part in answer):
        gold_text = {part for part in gold if isinstance(part, str)}
        return any(part in gold_text for part in answer if isinstance(part, str))
    return bool(verify(list(gold), answer, timeout_seconds=None, raise_on_error=False))


def _num_digits(expression: Any) -> float:
    """About the decimal digits of the largest number inside; a symbol counts as one digit."""
    from sympy import Add, Basic, Mul, Number, Pow, factorial, factorial2

    if not isinstance(expression, Basic):
        return 0.0
    if isinstance(expression, Number):
        return _number_digits(expression)
    parts = [_num_digits(part) for part in expression.args]
    if isinstance(expression, Pow):
        return max(*parts, parts[0] * _magnitude(parts[1]))
    if isinstance(expression, factorial | factorial2):
        return max(parts[0], 1.0) * _magnitude(parts[0])
    if isinstance(expression, Add):
        return max(parts) + math.log10(len(parts))
    if isinstance(expression, Mul):
        return sum(parts)
    return max(parts, default=1.0)


def _number_digits(number: Any) -> float:
    if number.is_Rational:
        return max(math.log10(max(abs(number.p), 1)), math.log10(number.q))
    return 1.0


def _magnitude(digits: float) -> float:
    return 10.0 ** min(digits, 300.0)


def _num_terms(expression: Any) -> float:
    """An upper bound on the terms of the expanded expression; infinity for endless products."""
    from sympy import Add, Basic, Integer, Mul, Pow, Product

    if not isinstance(expression, Basic) or not expression.args:
        return 1.0
    if isinstance(expression, Product):
        return math.inf
    parts = [_num_terms(part) for part in expression.args]
    if isinstance(expression, Mul):
        return math.prod(parts)
    if isinstance(expression, Pow):
        exponent = expression.exp
        power = abs(exponent.p) if isinstance(exponent, Integer) else 1
        # Terms of a sum of m to the power e: C(e + m - 1, m - 1).
        return float(math.comb(min(power, 9999) + min(int(parts[0]), 99) - 1, min(power, 9999)))
    return sum(parts) if isinstance(expression, Add) else max(parts)


def extract_answer(completion: str, *, bare: str = "line") -> str:
    """The answer to a reasoning-gym task, stripped.

    The last <answer></answer>; else the last \\boxed{}; else, with `bare` "line", the last line
    that isn't empty, with "number" the last number; where there is none, the empty text.
    """
    tagged = _ANSWER_TAG.findall(completion)
    if tagged:
        return tagged[-1].strip()
    boxed = last_boxed(completion)
    if boxed is not None:
        return boxed.strip()
    if bare == "number":
        numbers = _NUMBER.findall(completion)
        return numbers[-1] if numbers else ""
    lines = completion.strip().splitlines()
    return lines[-1].strip() if lines else ""


def verify_reasoning_gym(problem: Problem, completion: str) -> float:
    """1.0 iff the task's own `score_answer` gives the answer full marks; partial scores are 0.0.

    `problem.payload` holds `task`, `task_params` and `entry`, and `bare_answer` where a number is
    enough.
    """
    payload: Any = problem.payload
    task = _reasoning_gym_task(payload["task"], json.dumps(payload["task_params"], sort_keys=True))
    answer = extract_answer(completion, bare=payload.get("bare_answer", "line"))
    try:
        score = task.score_answer(answer=answer, entry=payload["entry"])
    # Some tasks raise, each its own way, on text that isn't of the answer's form
    # (prime_factorization: ValueError, game_of_life: KeyError): a wrong answer.
    except Exception:
        return 0.0
    return float(score >= 1.0)


@lru_cache(maxsize=64)
def _reasoning_gym_task(name: str, params_json: str) -> Any:
    from reasoning_gym import create_dataset

    return create_dataset(name, size=1, **json.loads(params_json))

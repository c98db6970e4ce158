"""The rule of mathematics: whether a completion's answer equals the gold."""

import logging
import math
import re
from functools import lru_cache
from typing import Any

from lab_llm.grading.final_answer import last_boxed
from lab_llm.templates import strip_thinking

MAX_ANSWER_CHARS = 500
MAX_TAIL_CHARS = 2000
MAX_DIGITS = 5000.0
MAX_TERMS = 300.0

_COMPUTED_BY_PARSER = re.compile(r"(?:binom|gcd|lcm).*(?:\d{5}|[\^!])", re.DOTALL)
"""What the parser computes at once, however large; not given to it."""


def reward(gold: str, completion: str) -> float:
    """1.0 iff the completion's answer equals `gold` by math-verify, else 0.0."""
    boxed = last_boxed(completion)
    if boxed is None:
        text = strip_thinking(completion)[-MAX_TAIL_CHARS:]
    elif len(boxed) <= MAX_ANSWER_CHARS:
        text = f"\\boxed{{{boxed}}}"
    else:
        return 0.0
    if _COMPUTED_BY_PARSER.search(text):
        return float(boxed is not None and boxed.strip() == gold.strip())
    return float(_equal(_parse_gold(gold), _parse(text)))


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

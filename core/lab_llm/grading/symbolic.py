"""Equality of expressions: math-verify's parser and comparison, with exact numbers."""

import logging
import re
from fractions import Fraction
from functools import cache, lru_cache
from typing import Any

from lab_llm.grading.exact import Exact, rounds_to

DIGITS = 60
"""Constants that have no exact value in common form are compared to so many digits, relatively."""

_LISTS = re.compile(r"[,;<>]|\\langle|\\rangle|\\(?:le|ge|ne)(?![A-Za-z])")
_FUNCTION = re.compile(r"gcd|lcm|max|min")
_LOST = re.compile(r"(?<![_^])\d\s+\d|\d\s*_|\d'\d")
_EQUALS = re.compile(r"(?<![\\<>!:=])=(?!=)")


def well_formed(text: str) -> bool:
    """Whether the parser reads all of the text: it loses digits behind a space and bases."""
    return _LOST.search(text) is None


@lru_cache(maxsize=4096)
def parsed(text: str) -> tuple[Any, ...]:
    """The sympy expression of a whole text, as one entry; empty where the parser has none."""
    expression = _read(_normalized(text))
    return () if expression is None or _lost(expression, text) else (expression,)


@lru_cache(maxsize=256)
def parsed_prose(text: str) -> tuple[Any, ...]:
    """Sympy expressions of the answer that math-verify finds in running text."""
    from math_verify import parse
    from sympy import Basic, MatrixBase

    # It warns at every start that the timeouts are off.
    logging.getLogger("math_verify").setLevel(logging.ERROR)
    found = parse(text.replace("\\$", " "), parsing_timeout=None)  # pyrefly: ignore[bad-argument-type]
    return tuple(part for part in found if isinstance(part, Basic | MatrixBase))


def same_expression(gold: Any, answer: Any, *, decimal: Exact | None = None) -> bool:
    """Whether two expressions are equal; `decimal` is the gold's own value where it is one."""
    gold, answer = _exactly(gold), _exactly(answer)
    if _is_constant(gold) and _is_constant(answer):
        return _same_constant(gold, answer, decimal=decimal)
    return _verified(gold, answer)


def contradicts_itself(text: str) -> bool:
    """Whether a chain of equations gives two different values: `x = 3 = 5`."""
    sides = _EQUALS.split(text)
    if len(sides) < 2 or "," in text or ";" in text:
        return False
    values = [parsed(side.strip()) for side in sides if re.search(r"\d", side)]
    constants = [value[0] for value in values if value and _is_constant(value[0])]
    return any(not same_expression(constants[0], other) for other in constants[1:])


def last_equation(text: str) -> str:
    """A chain of equations as its first side and its last: `x = 2 + 3 = 5` as `x=5`."""
    sides = _EQUALS.split(text)
    in_parts = len(sides) < 3 or "," in text or ";" in text
    return text if in_parts else f"{sides[0]}={sides[-1]}"


def _read(latex: str) -> Any:
    """The parsed LaTeX; None if the parser cannot read it."""
    from latex2sympy2_extended import latex2sympy
    from math_verify.grader import should_treat_as_complex

    try:
        return latex2sympy(
            latex,
            is_real=not should_treat_as_complex(latex),
            convert_degrees=False,
            normalization_config=None,
        )
    except MemoryError:  # the grader's limit, not the parser's
        raise
    except Exception:  # the parser raises of many kinds on what it does not read
        last = _EQUALS.split(latex)[-1]
        in_parts = last == latex or "," in latex or ";" in latex
        return None if in_parts else _read(last)


@cache
def _normalization() -> Any:
    """math-verify's own spelling rules, without its loss of units: those are taken off before."""
    from latex2sympy2_extended import NormalizationConfig

    return NormalizationConfig(units=False, malformed_operators=True, nits=True, boxed="none")


def _normalized(text: str) -> str:
    from latex2sympy2_extended import normalize_latex

    return normalize_latex(text, config=_normalization())


def _lost(expression: Any, text: str) -> bool:
    """Whether a list or a relation was read as one number."""
    if not getattr(expression, "is_Number", False) or _FUNCTION.search(text):
        return False
    if _LISTS.search(text) is None:
        return False
    return re.fullmatch(r"[+-]?\d{1,3}(?:,\d{3})+(?:\.\d+)?", text.strip()) is None


def _exactly(expression: Any) -> Any:
    """The expression with decimals as the fractions that they are, derivatives as names: sympy
    takes y for a constant in dy/dx."""
    from sympy import Derivative, Float, Rational, Symbol

    if not hasattr(expression, "atoms"):
        return expression
    exact = {one: Rational(str(one)) for one in expression.atoms(Float)}
    exact |= {one: Symbol(str(one)) for one in expression.atoms(Derivative)}
    return expression.xreplace(exact) if exact else expression


def _is_constant(expression: Any) -> bool:
    return bool(getattr(expression, "is_number", False)) and not getattr(
        expression, "is_Matrix", False
    )


def _same_constant(gold: Any, answer: Any, *, decimal: Exact | None) -> bool:
    if gold == answer:
        return True
    gold, answer = _computed(gold), _computed(answer)
    if gold.is_Rational and answer.is_Rational:
        return bool(gold == answer) or _rounded(answer, decimal=decimal)
    if gold.is_infinite or answer.is_infinite or not gold.is_number or not answer.is_number:
        return bool(gold == answer)
    difference, scale = abs((gold - answer).evalf(DIGITS)), abs(gold.evalf(DIGITS))
    if difference.is_comparable and scale.is_comparable:
        near = difference <= scale * 10.0 ** (20 - DIGITS)
        return bool(near) or _rounded(answer, decimal=decimal)
    return _verified(gold, answer)


def _computed(constant: Any) -> Any:
    try:
        return constant.doit()
    except MemoryError:
        raise
    except Exception:  # sympy raises of many kinds on what it cannot compute
        return constant


def _rounded(answer: Any, *, decimal: Exact | None) -> bool:
    if decimal is None or not answer.is_real:
        return False
    return rounds_to(decimal, Fraction(str(answer.evalf(DIGITS))))


def _verified(gold: Any, answer: Any) -> bool:
    from math_verify import verify

    # It warns at every start that the timeouts are off.
    logging.getLogger("math_verify").setLevel(logging.ERROR)
    try:
        return verify(
            gold,
            answer,
            numeric_precision=DIGITS,
            allow_set_relation_comp=True,
            timeout_seconds=None,
            raise_on_error=True,
        )
    except MemoryError:
        raise
    except Exception:  # of many kinds, as above
        return False

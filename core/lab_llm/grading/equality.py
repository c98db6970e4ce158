"""Whether two answers, taken apart, are equal."""

import re
from dataclasses import replace
from fractions import Fraction

from lab_llm.grading.exact import Exact, exact_number, is_plain, same_number
from lab_llm.grading.normal_form import Form, as_quantity
from lab_llm.grading.symbolic import (
    contradicts_itself,
    last_equation,
    parsed,
    same_expression,
    well_formed,
)

_ASSIGNED = re.compile(r"^[A-Za-z](?:_\{?\w+\}?)?(?:\([a-z]\))?\s*=\s*(?=[^=]*$)")
_ASSIGNED_BEHIND = re.compile(r"\s*=\s*[A-Za-z](?:_\{?\w+\}?)?$")
_OF_FUNCTION = re.compile(r"^[A-Za-z]\([a-z]\)\s*=\s*")
_MATRIX = re.compile(
    r"^\\begin\{([a-zA-Z]*matrix|array)\}(?:\s*\{[clr|]*\})?(.*)\\end\{\1\}$", re.DOTALL
)
_TUPLE = re.compile(r"^[(\[](.*,.*)[)\]](?:\s*\^\s*\{?\s*(?:T|\\top)\s*\}?)?$", re.DOTALL)
_DECISIVE = ("yes", "no", "true", "false")
_LETTER_UNIT = re.compile(r"^([^A-Za-z]*\d)[msghdlL]$")


def same_form(gold: Form, answer: Form) -> bool:
    """Whether the answer is the gold, in letter of a choice, words, unit and value."""
    if gold.label and answer.label and gold.label != answer.label:
        return False
    if _is_letter(gold) and (_is_letter(answer) or answer.label):
        return True
    if _is_letter(answer) and gold.label:
        return True
    if len(gold.text) == 1 and gold.text.isalpha() and gold.text.lower() == answer.text.lower():
        return True
    if answer.words and not gold.words:
        answer = as_quantity(answer)
    if gold.words and answer.words:
        return _same_words(gold.words, answer.words) or (
            _same_vocabulary(gold, answer) and _same_value(gold, answer)
        )
    if _other_unit(gold, answer):
        return False
    return not (gold.words and "=" not in gold.text) and _same_value(gold, answer)


def _is_letter(one: Form) -> bool:
    return bool(one.label) and one.text.upper() == one.label


def _same_words(gold: tuple[str, ...], answer: tuple[str, ...]) -> bool:
    if gold[0] in _DECISIVE and len(gold) == 1:
        return answer[0] == gold[0] and answer[1:2] != ("or",)
    has_number = any(token.isdigit() for token in gold)
    return gold == answer or (has_number and sorted(gold) == sorted(answer))


def _same_vocabulary(gold: Form, answer: Form) -> bool:
    """Whether both are formulas of the same words, such as `\\text{area} = 5`."""
    words = [{token for token in one.words if token.isalpha()} for one in (gold, answer)]
    return words[0] == words[1] and any(token.isdigit() for token in gold.words)


def _other_unit(gold: Form, answer: Form) -> bool:
    units = (gold.unit, answer.unit)
    return all(unit.name and unit.known for unit in units) and units[0].name != units[1].name


def _same_value(gold: Form, answer: Form) -> bool:
    numbers = _number(gold), _number(answer, beside=gold)
    if numbers[0] is not None and numbers[1] is not None:
        return _same_quantity(gold, numbers[0], answer, numbers[1])
    if _without_space(gold.text) == _without_space(answer.text):
        return True
    gold, answer = (
        _without_notation(one, number) for one, number in zip((gold, answer), numbers, strict=True)
    )
    if gold.degrees != answer.degrees and "\\pi" in gold.text + answer.text:
        texts = [_in_radians(one) for one in (gold, answer)]
    else:
        texts = _as_tuples(gold.text, _without_function_name(answer.text, beside=gold.text))
    return _same_mathematics(texts[0], texts[1], decimal=numbers[0])


def _without_notation(one: Form, number: Exact | None) -> Form:
    """A number as a fraction, where the parser reads its notation as something else (1e-05)."""
    is_read = is_plain(one.text) and one.unit.factor == 1
    if number is None or is_read or "=" in one.text:
        return one
    return replace(one, text=number.latex)


def _number(one: Form, *, beside: Form | None = None) -> Exact | None:
    text = one.text
    if beside is None or "=" not in beside.text:
        text = _ASSIGNED_BEHIND.sub("", _ASSIGNED.sub("", text))
    if beside and not re.search(r"[A-Za-z]", beside.text):
        # `5m` is five metres where the gold has no letter.
        text = _LETTER_UNIT.sub(r"\1", text)
    number = exact_number(text)
    if number is None or one.unit.factor == 1:
        return number
    return Exact(number.value * one.unit.factor)


def _same_quantity(gold: Form, gold_number: Exact, answer: Form, number: Exact) -> bool:
    if gold.percent == answer.percent:
        return same_number(gold_number, number)
    if gold.percent:
        part = Exact(gold_number.value / 100)
        return same_number(gold_number, number) or part.value == number.value
    # A bare gold of 1 and more may be meant in percent; a smaller one is the proportion itself.
    meant_in_percent = abs(gold_number.value) >= 1 and same_number(gold_number, number)
    return meant_in_percent or same_number(gold_number, Exact(number.value / Fraction(100)))


def _without_function_name(text: str, *, beside: str) -> str:
    """`f(x) = 2x` as 2x, where the gold names no function."""
    return text if _OF_FUNCTION.match(beside) else _OF_FUNCTION.sub("", text)


def _without_space(text: str) -> str:
    return re.sub(r"\s+", "", text) if well_formed(text) else text


def _in_radians(one: Form) -> str:
    return f"\\frac{{({one.text})\\pi}}{{180}}" if one.degrees else one.text


def _as_tuples(gold: str, answer: str) -> tuple[str, str]:
    """Both texts, a matrix of one row or column as a tuple where the other is a tuple."""
    vectors = [_vector_entries(text) for text in (gold, answer)]
    if (vectors[0] is None) == (vectors[1] is None):
        return gold, answer
    other = _TUPLE.fullmatch(answer if vectors[0] is not None else gold)
    if other is None:
        return gold, answer
    vector, plain = vectors[0] or vectors[1], f"({other[1]})"
    return (f"({vector})", plain) if vectors[0] is not None else (plain, f"({vector})")


def _vector_entries(text: str) -> str | None:
    match = _MATRIX.fullmatch(text)
    if match is None:
        return None
    rows = [row.split("&") for row in match[2].strip().removesuffix("\\\\").split("\\\\")]
    entries = rows[0] if len(rows) == 1 else [row[0] for row in rows if len(row) == 1]
    return ",".join(entries) if len(entries) == max(len(rows), len(rows[0])) else None


def _same_mathematics(gold: str, answer: str, *, decimal: Exact | None) -> bool:
    if not (well_formed(gold) and well_formed(answer)) or contradicts_itself(answer):
        return False
    answer = last_equation(answer)
    return any(same_expression(g, a, decimal=decimal) for g in parsed(gold) for a in parsed(answer))

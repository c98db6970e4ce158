"""Golds as text: numbers written as mathematics, and what counts as no answer at all."""

import re
import unicodedata
from decimal import Decimal

MAX_ZEROS = 30
"""A number that needs more zeros between its digits and its point is a power of ten."""

_WRAPPING = re.compile(r"\$|\\[()\[\]]|\\f?boxed\s*\{\s*\}")
"""What stands around an answer, or is a box without one."""
_FILLERS = "\u115f\u1160\u3164\uffa0\u2800"
"""Letters and symbols that show nothing."""


def number_text(value: int | Decimal) -> str:
    """A finite number as mathematics: 0.00001, 10000000000000000, 10^{-40}; never 1e-05.

    A whole number has no point, since a column of integers with gaps is stored as floats. All
    other digits stand as they are given: 0.10 stays 0.10.
    """
    if isinstance(value, int):
        return str(value)
    if not value:
        return "0"
    sign = "-" if value < 0 else ""
    digits = "".join(map(str, value.as_tuple().digits)).lstrip("0")
    power = value.adjusted()  # of the first digit
    if max(power + 1 - len(digits), -power - 1) > MAX_ZEROS:
        return sign + _power_of_ten(digits.rstrip("0"), power)
    if power < 0:
        return f"{sign}0.{'0' * (-power - 1)}{digits}"
    whole, rest = digits[: power + 1].ljust(power + 1, "0"), digits[power + 1 :]
    return f"{sign}{whole}.{rest}" if rest.strip("0") else sign + whole


def _power_of_ten(digits: str, power: int) -> str:
    factor = f"{digits[0]}.{digits[1:]}".rstrip(".")
    return f"10^{{{power}}}" if factor == "1" else f"{factor} \\cdot 10^{{{power}}}"


def is_blank(text: str) -> bool:
    """Whether nothing of a text can be seen: white space, controls, characters of no width, marks
    without a letter, and signs around nothing (`$$`, `\\boxed{}`)."""
    return not any(map(_is_visible, _WRAPPING.sub("", text)))


def _is_visible(character: str) -> bool:
    return unicodedata.category(character)[0] in "LNPS" and character not in _FILLERS

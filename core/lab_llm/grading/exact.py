"""Numbers as exact fractions, read from their usual notations without a parser."""

import re
from dataclasses import dataclass
from fractions import Fraction

MAX_EXPONENT = 2000
"""A larger power of ten is left to the parser."""
SIGNIFICANT_DIGITS = 6
"""A gold decimal of at least so many digits stands for each number that rounds to it."""

_INT = r"\d+"
_DECIMAL = r"(?:\d+\.\d*|\.\d+|\d+)"
_BRACED = r"\{\s*([+-]?\d+)\s*\}"
_PLAIN = re.compile(rf"{_DECIMAL}")
_SCIENTIFIC = re.compile(
    rf"({_DECIMAL})(?:[eE]([+-]?\d+)|\s*(?:\\times|\\cdot|\*|x)\s*10\s*\^\s*(?:{_BRACED}|([+-]?\d+)))"
)
_POWER_OF_TEN = re.compile(rf"10\s*(?:\^|\*\*)\s*(?:{_BRACED}|(\d+))")
_FRACTION = re.compile(rf"(?:({_INT})\s*)?\\[dtc]?frac\s*(?:{_BRACED}|(\d))\s*(?:{_BRACED}|(\d))")
_SLASH = re.compile(rf"(?:({_INT})\s+)?({_DECIMAL})\s*/\s*({_DECIMAL})")
_REPEATING = re.compile(
    r"(\d*)\.(\d*)(?:\\(?:overline|bar|dot|overset\{\.\})\s*(?:\{(\d+)\}|(\d))|\((\d+)\))"
)
_DOTS = re.compile(r"(\d*)\.(\d+?)(?:\.\.\.|\\[lc]?dots)")


@dataclass(frozen=True)
class Exact:
    """`value`, and how many decimal places it is written with; None where it isn't a decimal."""

    value: Fraction
    places: int | None = None

    @property
    def latex(self) -> str:
        """The value as an integer or a fraction."""
        value = self.value
        whole = value.denominator == 1
        return str(value) if whole else f"\\frac{{{value.numerator}}}{{{value.denominator}}}"


def is_plain(text: str) -> bool:
    """Whether the text is an integer or a decimal, in digits only."""
    return _PLAIN.fullmatch(text.strip().lstrip("+-")) is not None


def exact_number(text: str) -> Exact | None:
    """The number that the whole text writes down, or None.

    Integers, decimals (also repeating ones), fractions, mixed numbers, scientific notation.
    """
    text = text.strip()
    negative = text[:1] == "-"
    unsigned = text[1:].lstrip() if text[:1] in ("-", "+") else text
    if unsigned[:1] == "{" and unsigned[-1:] == "}":
        unsigned = unsigned[1:-1]
    number = _unsigned(unsigned)
    if number is None or not negative:
        return number
    return Exact(-number.value, number.places)


def _unsigned(text: str) -> Exact | None:
    if _PLAIN.fullmatch(text):
        whole, point, decimals = text.partition(".")
        return Exact(_decimal(whole, decimals), len(decimals) if point and decimals else None)
    if match := _FRACTION.fullmatch(text):
        whole, *parts = match.groups()
        return _ratio(whole, parts[0] or parts[1], parts[2] or parts[3])
    if match := _SLASH.fullmatch(text):
        return _ratio(*match.groups())
    if match := _SCIENTIFIC.fullmatch(text):
        return _scaled(match[1], match[2] or match[3] or match[4])
    if match := _POWER_OF_TEN.fullmatch(text):
        return _scaled("1", match[1] or match[2])
    if match := _REPEATING.fullmatch(text):
        return Exact(_repeating(match[1], match[2], match[3] or match[4] or match[5]))
    if match := _DOTS.fullmatch(text):
        return _with_dots(match[1], match[2])
    return None


def _decimal(whole: str, decimals: str) -> Fraction:
    return Fraction(int(whole + decimals or "0"), 10 ** len(decimals))


def _ratio(whole: str | None, numerator: str, denominator: str) -> Exact | None:
    below = Fraction(_float_safe(denominator))
    if below == 0:
        return None
    return Exact(int(whole or 0) + Fraction(_float_safe(numerator)) / below)


def _float_safe(decimal: str) -> str:
    return f"0{decimal}" if decimal.startswith(".") else decimal.rstrip(".")


def _scaled(mantissa: str, exponent: str) -> Exact | None:
    if len(exponent) > 5 or abs(int(exponent)) > MAX_EXPONENT:
        return None
    whole, _, decimals = mantissa.partition(".")
    return Exact(_decimal(whole, decimals) * Fraction(10) ** int(exponent))


def _repeating(whole: str, decimals: str, period: str) -> Fraction:
    tail = Fraction(int(period), 10 ** len(period) - 1) / 10 ** len(decimals)
    return _decimal(whole, decimals) + tail


def _with_dots(whole: str, decimals: str) -> Exact | None:
    """`0.333...`: the shortest period that ends the digits at least twice."""
    for length in range(1, len(decimals) // 2 + 1):
        period = decimals[-length:]
        if decimals.endswith(period * 2):
            return Exact(_repeating(whole, decimals, period))
    return None


def same_number(gold: Exact, answer: Exact) -> bool:
    """Whether the answer is the gold, or rounds to a gold that is a long decimal."""
    if gold.value == answer.value:
        return True
    if answer.places is not None and answer.places <= (gold.places or 0):
        return False
    return rounds_to(gold, answer.value)


def rounds_to(gold: Exact, value: Fraction) -> bool:
    """Whether the gold is a decimal of enough digits, and the value rounds to it."""
    if gold.places is None or not gold.value:
        return False
    digits = str(abs(gold.value.numerator * 10**gold.places // gold.value.denominator))
    if len(digits.lstrip("0")) < SIGNIFICANT_DIGITS:
        return False
    return abs(value - gold.value) * 10**gold.places * 2 <= 1

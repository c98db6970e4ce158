"""Units of measure behind a value, under one name each."""

import re
from dataclasses import dataclass
from fractions import Fraction

_NAMES = {
    "millimeter": "mm millimeters millimetre millimetres",
    "centimeter": "cm cms centimeters centimetre centimetres",
    "decimeter": "dm decimeters decimetre decimetres",
    "meter": "m meters metre metres",
    "kilometer": "km kms kilometers kilometre kilometres",
    "inch": "in inches",
    "foot": "ft feet",
    "yard": "yd yds yards",
    "mile": "mi miles",
    "milligram": "mg milligrams",
    "gram": "g grams",
    "kilogram": "kg kgs kilograms",
    "ounce": "oz ounces",
    "pound": "lb lbs pounds",
    "ton": "t tons tonne tonnes",
    "millisecond": "ms milliseconds",
    "second": "s sec secs seconds",
    "minute": "min mins minutes",
    "hour": "h hr hrs hours",
    "day": "d days",
    "week": "wk weeks",
    "month": "months",
    "year": "yr yrs years",
    "milliliter": "ml milliliters millilitre millilitres",
    "liter": "l L liters litre litres",
    "gallon": "gal gallons",
    "cent": "cents",
    "dollar": "dollars usd",
    "euro": "euros eur",
    "unit": "units",
    "mph": "",
    "kph": "kmh",
    "newton": "N newtons",
    "joule": "J joules",
    "watt": "W watts",
    "volt": "V volts",
    "ampere": "A amperes amps",
    "ohm": "ohms",
    "hertz": "Hz hertz",
    "pascal": "Pa pascals",
    "kelvin": "K kelvins",
    "mole": "mol moles",
    "am": "",
    "pm": "",
    "radian": "rad rads radians",
}
_CANONICAL = {word: name for name, words in _NAMES.items() for word in [name, *words.split()]}
MULTIPLIERS = {
    "hundred": 10**2,
    "thousand": 10**3,
    "million": 10**6,
    "billion": 10**9,
    "trillion": 10**12,
    "dozen": 12,
}
_WORD = re.compile(r"[A-Za-z]+")
_POWER = re.compile(r"^\s*\^?\s*\{?\s*(-?\d)\s*\}?|^\s+(squared|cubed)")
_DIMENSION_WORDS = {"square": 2, "sq": 2, "cubic": 3, "cu": 3}


@dataclass(frozen=True)
class Unit:
    """`name`: '' where nothing names a unit. `known`: whether each word of it is a unit of measure.

    `factor`: what a word such as million multiplies the value by.
    """

    name: str = ""
    known: bool = True
    factor: Fraction = Fraction(1)


NO_UNIT = Unit()


def unit_named(text: str) -> Unit:
    """The unit that a text names, such as `cm^2`, `square feet`, `m/s`, `apples` or `million`."""
    names: list[str] = []
    known, factor, power, place = True, Fraction(1), 1, 0
    for word in _WORD.finditer(text):
        below = "/" in text[place : word.start()]
        place = word.end()
        lower = word[0].lower()
        if lower in MULTIPLIERS:
            factor *= MULTIPLIERS[lower]
        elif lower in _DIMENSION_WORDS:
            power = _DIMENSION_WORDS[lower]
        elif lower in ("per", "of", "the", "each", "squared", "cubed", "a", "an"):
            names += ["/"] if lower == "per" else []
        else:
            name = _CANONICAL.get(word[0]) or _CANONICAL.get(lower)
            known = known and name is not None
            raised = _POWER.match(text[word.end() :])
            power = _exponent(raised) if raised else power
            below, power = below or power < 0, abs(power)
            names.append(("/" if below else "") + (name or _singular(lower)) + _suffix(power))
            power = 1
    return Unit(" ".join(names).replace("/ ", "/"), known, factor)


def is_unit(word: str) -> bool:
    """Whether a word names a unit of measure or a multiplier, by more than one letter."""
    lower = word.lower()
    return len(word) > 1 and (lower in _CANONICAL or lower in MULTIPLIERS)


def _exponent(raised: re.Match[str]) -> int:
    return int(raised[1]) if raised[1] else {"squared": 2, "cubed": 3}[raised[2]]


def _suffix(power: int) -> str:
    return "" if power == 1 else f"^{power}"


def _singular(word: str) -> str:
    return word[:-1] if word.endswith("s") and len(word) > 3 else word

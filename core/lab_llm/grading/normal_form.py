"""One form of an answer: its mathematics, apart from choice letter, unit, percent and degrees."""

import re
from dataclasses import dataclass
from functools import lru_cache

from lab_llm.grading.latex_text import plain_latex, ungrouped, without_delimiters
from lab_llm.grading.units import NO_UNIT, Unit, is_unit, unit_named

_TEXT = re.compile(r"\\text\s*\{([^{}]*)\}")
_LABEL = re.compile(
    r"\s*(?:(?i:option|choice)\s*)?(?:\(([A-Ja-j])\)|([A-J])\s*[).:](?!\d)|([A-J])$)\s*(.*)",
    re.DOTALL,
)
_TEXT_LABEL = re.compile(r"\s*\\text\s*\{\s*\(([A-J])\)\s*\}\s*(\S.*)", re.DOTALL)
_MORE_LABELS = re.compile(r"[,;&]|(?:and|or)\b")
_ANSWER_WORD = re.compile(
    r"^\s*(?:\\text\s*\{)?\s*(?:(?:the|final|correct)\s+)*(?:answer|ans|result|solution)s?\s*"
    r"(?:is\s*:?|are\s*:?|:|=)\s*(?:\})?\s*(?:=\s*)?",
    re.IGNORECASE,
)
_ABOUT = re.compile(r"^\s*(?:\\approx|\\simeq|\\sim|\\therefore|=)\s*")
_PERCENT = re.compile(
    r"\s*(?:%|\\text\s*\{\s*(?:percent|per cent|pct|%)\s*\}|"
    r"(?<![A-Za-z])(?:percent|per cent|pct))\s*$",
    re.IGNORECASE,
)
_DEGREES = re.compile(
    r"\s*(?:\^\s*\{?\s*\\circ\s*\}?|\\text\s*\{\s*(?:degrees?|deg)\s*\}|(?<![A-Za-z])degrees?(?![A-Za-z]))"
)
_TRIGONOMETRIC = re.compile(r"(?<!arc)(?<!a)(?:sin|cos|tan|cot|sec|csc)")
_DEGREE_NUMBER = re.compile(
    r"\{\s*(\d+(?:\.\d+)?)\s*\^\s*\{?\s*\\circ\s*\}?\s*\}|(\d+(?:\.\d+)?)\s*\^\s*\{?\s*\\circ\s*\}?"
)
_TEMPERATURE = re.compile(r"\^\s*\{?\s*\\circ\s*\}?\s*(?:\\text\s*\{\s*)?([CF])\s*\}?\s*$")
_TEXT_UNIT = re.compile(
    r"^(.*?[^\s\\])\s*((?:(?:[/*]\s*)?(?:\\cdot\s*)?\\text\s*\{[^{}]*\}(?:\s*\^\s*\{?-?\d\}?)?\s*)+)$",
    re.DOTALL,
)
_BARE_UNIT = re.compile(
    r"^(.*[\d})])(\s*)((?:[A-Za-z]+(?:\^\{?-?\d\}?)?\.?(?:\s*/\s*|\s+|$))+)$", re.DOTALL
)
_CONNECTIVES = "and or if for where when otherwise to such that with mod"
_FUNCTIONS = "sin cos tan cot sec csc log ln lim max min gcd lcm exp arcsin arccos arctan i pi e"
_NO_UNIT = frozenset(_CONNECTIVES.split() + _FUNCTIONS.split())
_AMBIGUOUS_UNIT = frozenset(("ms", "mi", "pa", "in"))
_OPEN_END = re.compile(
    r"(?:[-+*/=,(<>^_{|:]|\\(?:cdot|times|div|sqrt|[lnp][nom]g?|in|cup|cap|le|ge))$"
)
_WRAPPED_DIGITS = re.compile(r"(?<![\w\\}])(?:\(|\\text\s*\{)\s*([0-9A-F]+)\s*[)}](?=\s*_)")
_BASE = re.compile(
    r"(?<![\w\\}.])([0-9A-F]*[0-9][0-9A-F]*|[0-9A-Fa-f]*[0-9][0-9A-Fa-f]*(?=_\{?16\}?(?!\d))|"
    r"[A-F]+(?=_\{?1[1-6]\}?(?!\d)))"
    r"_(?:\{\s*(?:\\text\s*\{)?\s*(\w+)\s*\}?\s*\}|(\d+))(?![\w^!])"
)
_CURRENCY = re.compile(r"\\\$|[€£¥₹]")
_VECTOR = re.compile(r"^(?:\\langle\s*(.*)\\rangle|<([^<>]*,[^<>]*)>)$", re.DOTALL)
_VARIABLES = (frozenset("abcd"), frozenset("klmn"), frozenset("pqrst"), frozenset("uvwxyz"))
_WORD = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{3,}|(?<![\\A-Za-z])[Nn][Oo](?![A-Za-z])")
_ORDINAL = re.compile(r"(?<=\d)(?:st|nd|rd|th)\b")
_TEXT_QUANTITY = re.compile(r"\\text\s*\{\s*([-+]?[\d.,]*\d)\s+([A-Za-z][^{}]*)\}")
_APPROXIMATELY = re.compile(r"\\approx(?![A-Za-z])|\\simeq(?![A-Za-z])|[≈≃]")
_COMMAND = re.compile(r"\\(?:begin|end|operatorname\*?|mathbb|mathcal)\s*\{[^{}]*\}|\\[A-Za-z]+")
_NUMBERS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen twenty"
)
_NUMBER_WORDS = _NUMBERS.split()
_INFINITY = re.compile(r"(?:(-|minus |negative )|\+|plus |positive )?infinity")
_NOTHING = re.compile(r"(?:there (?:is|are) )?no (?:real )?solutions?|(?:the )?empty set", re.I)


@dataclass(frozen=True)
class Form:
    """An answer, taken apart.

    `text`: the mathematics as plain LaTeX; `label`: the letter of a choice; `words`: what the whole
    answer says, lower case, where it is text rather than mathematics.
    """

    text: str
    label: str = ""
    unit: Unit = NO_UNIT
    percent: bool = False
    degrees: bool = False
    words: tuple[str, ...] = ()


@lru_cache(maxsize=8192)
def form(answer: str) -> Form:
    """The form of an answer as it stands in a box or behind 'the answer is'."""
    text = plain_latex(answer)
    whole = _TEXT.fullmatch(text)
    if whole and _ANSWER_WORD.match(whole[1]):
        text = whole[1]
    text = _ANSWER_WORD.sub("", text)
    text = _ABOUT.sub("", without_delimiters(text))
    label, text = _labelled(text)
    text = _meaning(text)
    percent, text = _cut(_PERCENT, text)
    degrees, text = _degrees(text)
    unit, text = _with_unit(text)
    if not percent:
        percent, text = _cut(_PERCENT, text)
    text = _vector(ungrouped(without_delimiters(text)))
    text = _BASE.sub(_in_base_ten, _WRAPPED_DIGITS.sub(r"\1", text))
    words = _words(text)
    return Form(text, label, unit, percent, degrees, words)


def _labelled(text: str) -> tuple[str, str]:
    match = _LABEL.fullmatch(_TEXT.sub(lambda part: part[1], text)) if len(text) < 200 else None
    if match is None:
        return "", text
    label, rest = match[1] or match[2] or match[3], match[4].strip()
    if not rest:
        return label.upper(), label
    if _MORE_LABELS.match(rest):
        return "", text
    if marked := _TEXT_LABEL.fullmatch(text):
        return marked[1], marked[2].strip()
    if label.islower() or re.fullmatch(r"[A-Z]", rest) or rest[0] in "(+-^_=*/!":
        return "", text
    return label, rest


def _meaning(text: str) -> str:
    """The text, with number words as numbers and 'no solution' as the empty set."""
    plain = _TEXT.sub(lambda part: part[1], text).strip().lower()
    if plain in _NUMBER_WORDS:
        return str(_NUMBER_WORDS.index(plain))
    if infinity := _INFINITY.fullmatch(plain):
        return "-\\infty" if infinity[1] else "\\infty"
    return "\\emptyset" if _NOTHING.fullmatch(plain) else text


def _cut(pattern: re.Pattern[str], text: str) -> tuple[bool, str]:
    cut = pattern.sub("", text)
    return (True, cut) if cut != text and cut.strip() else (False, text)


def _degrees(text: str) -> tuple[bool, str]:
    if _TEMPERATURE.search(text) or ("circ" not in text and "deg" not in text):
        return False, text
    if _TRIGONOMETRIC.search(text):
        return False, _DEGREE_NUMBER.sub(r"(\\frac{\1\2\\pi}{180})", text)
    return _cut(_DEGREES, text)


def _with_unit(text: str) -> tuple[Unit, str]:
    if _CURRENCY.search(text):
        rest = _CURRENCY.sub("", text).strip()
        inner, rest = _with_unit(rest)
        return Unit(inner.name or "dollar", inner.known, inner.factor), rest
    if match := _TEMPERATURE.search(text):
        return Unit(f"degree {match[1]}"), text[: match.start()]
    if match := _TEXT_UNIT.fullmatch(text):
        value, named = match[1], _TEXT.sub(lambda part: part[1], match[2])
        spaced = True
    elif match := _BARE_UNIT.fullmatch(text):
        value, spaced, named = match[1], bool(match[2]), match[3]
        if not _names_bare_unit(named, spaced=spaced):
            return NO_UNIT, text
    else:
        return NO_UNIT, text
    names = re.findall(r"[A-Za-z]+", named)
    if not names or names[0].lower() in _NO_UNIT or not _is_value(value):
        return NO_UNIT, text
    return unit_named(named), value


def _is_value(text: str) -> bool:
    return bool(re.search(r"\d|\\pi|\\sqrt|^[A-Za-z]$", text)) and not _OPEN_END.search(text)


def _names_bare_unit(named: str, *, spaced: bool) -> bool:
    first = re.findall(r"[A-Za-z]+", named)[0]
    if first.lower() in _NO_UNIT:
        return False
    if len(first) == 1:
        return spaced and first in "msghdlLNJWVAKt"
    if is_unit(first) and (spaced or first.lower() not in _AMBIGUOUS_UNIT):
        return True
    return len(first) >= 3 and first.islower() and not is_product(first)


def is_product(letters: str) -> bool:
    """Whether a run of letters is a product of variables rather than a word."""
    return any(variables.issuperset(letters.lower()) for variables in _VARIABLES)


def _vector(text: str) -> str:
    match = _VECTOR.fullmatch(text)
    return f"({(match[1] or match[2]).strip()})" if match else text


def _in_base_ten(match: re.Match[str]) -> str:
    named = (match[2] or match[3]).lower()
    base = _NUMBER_WORDS.index(named) if named in _NUMBER_WORDS else named
    try:
        base = int(base)
        return str(int(match[1], base)) if 2 <= base <= 36 else match[0]
    except ValueError:
        return match[0]


def _words(text: str) -> tuple[str, ...]:
    """The words and numbers of an answer that holds a word, without articles."""
    said = _COMMAND.sub(" ", _TEXT.sub(lambda part: f" {part[1]} ", text))
    words = [word for word in _WORD.findall(said) if word.lower() not in _NO_UNIT]
    if not any(not is_product(word) or word.lower() == "no" for word in words):
        return ()
    said = _ORDINAL.sub("", said.lower().replace(".m.", "m"))
    tokens = re.findall(r"[a-z]+|\d+(?:\.\d+)?", said)
    return tuple(token for token in tokens if token not in ("the", "a", "an", "of"))


def as_quantity(one: Form) -> Form:
    """`\\text{40 students}` as the number 40 and its unit; any other form as it is."""
    quantity = _TEXT_QUANTITY.fullmatch(one.text)
    return form(f"{quantity[1]}\\text{{ {quantity[2]}}}") if quantity else one


@lru_cache(maxsize=8192)
def alternatives(answer: str) -> tuple[Form, ...]:
    """The forms of an answer: one, or for `\\sqrt2 \\approx 1.41` each side on its own."""
    sides = _APPROXIMATELY.split(answer)
    whole = (form(answer),)
    return whole if len(sides) == 1 else tuple(form(side) for side in sides if side.strip())

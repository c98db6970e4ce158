"""Characters of mathematics as LaTeX: full-width digits, fractions, roots, signs, Greek letters."""

import re
import unicodedata

_SIGNS = {
    "−–—‐‑‒―﹣－˗": "-",
    "×✕✖": r"\times ",
    "·⋅∙•": r"\cdot ",
    "÷": r"\div ",
    "⁄∕": "/",
    "±": r"\pm ",
    "∓": r"\mp ",
    "≤≦⩽": r"\le ",
    "≥≧⩾": r"\ge ",
    "≠": r"\ne ",
    "≈≃≅": r"\approx ",
    "∞": r"\infty ",
    "∪": r"\cup ",
    "∩": r"\cap ",
    "∈": r"\in ",
    "∅⌀": r"\emptyset ",
    "⟨〈": r"\langle ",
    "⟩〉": r"\rangle ",
    "⌊": r"\lfloor ",
    "⌋": r"\rfloor ",
    "⌈": r"\lceil ",
    "⌉": r"\rceil ",
    "∠": r"\angle ",
    "ℝ": r"\mathbb{R}",
    "ℂ": r"\mathbb{C}",
    "ℤ": r"\mathbb{Z}",
    "ℕ": r"\mathbb{N}",
    "ℚ": r"\mathbb{Q}",
    "°º˚": r"^\circ ",
    "℃": r"^\circ C",
    "℉": r"^\circ F",
    "′’‘": "'",
    "“”": '"',
    "…⋯": r"\ldots ",
    "、": ",",
    "。": ".",
    "∑": r"\sum ",
    "∫": r"\int ",
    "ı": "i",
}
_TABLE = {ord(char): latex for chars, latex in _SIGNS.items() for char in chars}
_GREEK = (
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho "
    "sigma tau upsilon phi chi psi omega"
).split()
for _name in _GREEK:
    _unicode_name = "LAMDA" if _name == "lambda" else _name.upper()
    _small = unicodedata.lookup(f"GREEK SMALL LETTER {_unicode_name}")
    _TABLE[ord(_small)] = f"\\{_name} "
for _name in ("Gamma", "Delta", "Theta", "Xi", "Pi", "Sigma", "Phi", "Psi", "Omega"):
    _TABLE[ord(unicodedata.lookup(f"GREEK CAPITAL LETTER {_name.upper()}"))] = f"\\{_name} "

_SUPERSCRIPTS = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁽⁾ⁿ", "0123456789+-()n", strict=True))
_SUBSCRIPTS = dict(zip("₀₁₂₃₄₅₆₇₈₉₊₋₍₎ₙ", "0123456789+-()n", strict=True))
_SUPERSCRIPT = re.compile(f"[{''.join(_SUPERSCRIPTS)}]+")
_SUBSCRIPT = re.compile(f"[{''.join(_SUBSCRIPTS)}]+")
_VULGAR = re.compile("[¼½¾⅐-⅞↉]")
_ROOT = re.compile(r"([√∛∜])\s*(\d+(?:\.\d+)?|[A-Za-z]|\\[a-z]+|\([^()]*\)|\{[^{}]*\})?")
_ROOTS = {"√": r"\sqrt", "∛": r"\sqrt[3]", "∜": r"\sqrt[4]"}


def ascii_math(text: str) -> str:
    """The text with characters of mathematics as LaTeX, without characters that one cannot see."""
    if text.isascii():
        return text
    text = _SUPERSCRIPT.sub(lambda run: "^{" + _plain(run[0], _SUPERSCRIPTS) + "}", text)
    text = _SUBSCRIPT.sub(lambda run: "_{" + _plain(run[0], _SUBSCRIPTS) + "}", text)
    text = _VULGAR.sub(lambda sign: _fraction(sign[0]), text).translate(_TABLE)
    text = _ROOT.sub(_root, text)
    text = unicodedata.normalize("NFKC", text).translate(_TABLE)
    return "".join(_ascii_digit(char) for char in text if unicodedata.category(char) != "Cf")


def _plain(run: str, plain: dict[str, str]) -> str:
    return "".join(plain[char] for char in run)


def _fraction(sign: str) -> str:
    numerator, _, denominator = unicodedata.normalize("NFKC", sign).partition("\u2044")
    return f"\\frac{{{numerator}}}{{{denominator}}}"


def _root(match: re.Match[str]) -> str:
    radicand = (match[2] or "").strip()
    if radicand[:1] in ("(", "{"):
        radicand = radicand[1:-1]
    return f"{_ROOTS[match[1]]}{{{radicand}}}" if radicand else _ROOTS[match[1]]


def _ascii_digit(char: str) -> str:
    return str(unicodedata.decimal(char)) if char.isdecimal() else char

"""Characters of mathematics as LaTeX: full-width digits, fractions, roots, signs, Greek letters."""

import re
import unicodedata

_SIGNS = {
    "\u2212\u2013\u2014\u2010\u2011\u2012\u2015\ufe63\uff0d\u02d7": "-",
    "\u00d7\u2715\u2716": r"\times ",
    "\u00b7\u22c5\u2219\u2022": r"\cdot ",
    "\u00f7": r"\div ",
    "\u2044\u2215": "/",
    "\u00b1": r"\pm ",
    "\u2213": r"\mp ",
    "\u2264\u2266\u2a7d": r"\le ",
    "\u2265\u2267\u2a7e": r"\ge ",
    "\u2260": r"\ne ",
    "\u2248\u2243\u2245": r"\approx ",
    "\u221e": r"\infty ",
    "\u222a": r"\cup ",
    "\u2229": r"\cap ",
    "\u2208": r"\in ",
    "\u2205\u2300": r"\emptyset ",
    "\u27e8\u3008": r"\langle ",
    "\u27e9\u3009": r"\rangle ",
    "\u230a": r"\lfloor ",
    "\u230b": r"\rfloor ",
    "\u2308": r"\lceil ",
    "\u2309": r"\rceil ",
    "\u2220": r"\angle ",
    "\u211d": r"\mathbb{R}",
    "\u2102": r"\mathbb{C}",
    "\u2124": r"\mathbb{Z}",
    "\u2115": r"\mathbb{N}",
    "\u211a": r"\mathbb{Q}",
    "\u00b0\u00ba\u02da": r"^\circ ",
    "\u2103": r"^\circ C",
    "\u2109": r"^\circ F",
    "\u2032\u2019\u2018": "'",
    "\u201c\u201d": '"',
    "\u2026\u22ef": r"\ldots ",
    "\u3001": ",",
    "\u3002": ".",
    "\u2211": r"\sum ",
    "\u222b": r"\int ",
    "\u0131": "i",
    "\u00a2": " cents",
}
_TABLE = {ord(char): latex for chars, latex in _SIGNS.items() for char in chars}
_GREEK = (
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho "
    "sigma tau upsilon phi chi psi omega"
)
for _name in _GREEK.split():
    _unicode_name = "LAMDA" if _name == "lambda" else _name.upper()
    _small = unicodedata.lookup(f"GREEK SMALL LETTER {_unicode_name}")
    _TABLE[ord(_small)] = f"\\{_name} "
for _name in ("Gamma", "Delta", "Theta", "Xi", "Pi", "Sigma", "Phi", "Psi", "Omega"):
    _TABLE[ord(unicodedata.lookup(f"GREEK CAPITAL LETTER {_name.upper()}"))] = f"\\{_name} "

_SUPERSCRIPTS: dict[str, str] = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁽⁾ⁿ", "0123456789+-()n", strict=True))
_SUBSCRIPTS: dict[str, str] = dict(zip("₀₁₂₃₄₅₆₇₈₉₊₋₍₎ₙ", "0123456789+-()n", strict=True))
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
    return "".join(_ascii_digit(char) for char in text if not _is_invisible(char))


def _is_invisible(char: str) -> bool:
    return unicodedata.category(char) == "Cf" or "\ufe00" <= char <= "\ufe0f"


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

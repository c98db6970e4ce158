"""LaTeX without what only changes its looks: sizes, colours, fonts, spaces, digit groups."""

import re

from lab_llm.grading.unicode_math import ascii_math

_RULES = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"\$\s*,?\s*\b(?:and|or)\s*\$", ","),
        (r"\\\\\s*(?=\\end\{|$)|(?<!\\)\\\s*$", ""),
        (r"\\\\(?=[A-Za-z]{2,})(?!.*\\end\{)", r"\\"),
        (r"(?<!\\)\\(?:left|right|middle)\s*\.(?!\d)", ""),
        (r"(?<!\\)\\(?:left|right|middle|[bB]igg?[lrm]?)(?![A-Za-z])\s*", ""),
        (
            r"\\(?:fcolorbox\s*\{[^{}]*\}|colorbox|textcolor|color)\s*(?:\[[^\]]*\])?\{[^{}]*\}",
            "",
        ),
        (r"\\color\s+[a-z]+(?![A-Za-z])", ""),
        (r"\\h?phantom\s*\{[^{}]*\}|\\(?:hspace|vspace)\*?\s*\{[^{}]*\}|\\label\{[^{}]*\}", ""),
        (r"\\(?:display|text|script)style(?![A-Za-z])", ""),
        (r"\\(?:no)?limits(?![A-Za-z])", ""),
        (r"\\(?:tiny|small|normalsize|large|Large|LARGE|huge|Huge)(?![A-Za-z])\s*", ""),
        (r"\{\s*(\\[,;:! ])\s*\}", r"\1"),
        (r"\\!", ""),
        (r"(?<!\\)\\[,;:> ]|~|\\q?quad(?![A-Za-z])|\\(?:thin|med|thick)space(?![A-Za-z])", " "),
        (r"(?:&nbsp;|\s)+", " "),
        (
            r"\\(?:math(?:rm|up)|textrm|textnormal|textup|textbf|textit|textsf|texttt|emph|[mh]box)"
            r"(?![A-Za-z])",
            r"\\text",
        ),
        (r"\\text\s+([A-Za-z0-9])(?![A-Za-z])", r"\1"),
        (r"\\text\s*\{\s*(gcd|lcm)\s*\}", r"\\\1"),
        (r"\\text\s*\{\s*([-+:=/<>])\s*\}|\{\s*(:)\s*\}", r"\1\2"),
        (r"(\\text\s*\{[^{}]*\^)\s*\{(-?\d+)\}", r"\1\2"),
        (r"(?<![A-Za-z])([apAP])\.\s?[mM]\.?(?![A-Za-z])", r"\1m"),
        (r"\{\s*\\(?:rm|bf|it|sf|tt|em)(?![A-Za-z])\s*", r"\\text{"),
        (
            r"\\(?:mathbf|boldsymbol|bm|pmb|mathit|mathsf|mathtt|mathnormal|underline|f?boxed|fbox|"
            r"ensuremath|bf|it|rm)(?![A-Za-z])\s*",
            "",
        ),
        (r"\\[dtc]frac(?![A-Za-z])", r"\\frac"),
        (
            r"\\frac\s*\{\s*\\text\s*\{([^{}]*)\}\s*\}\s*\{\s*\\text\s*\{([^{}]*)\}\s*\}",
            r"\\text{\1/\2}",
        ),
        (r"\\[dt]binom(?![A-Za-z])", r"\\binom"),
        (r"\{([^{}]+)\}\s*\\choose\s*\{([^{}]+)\}", r"\\binom{\1}{\2}"),
        (r"\{([^{}]+)\\choose(?![A-Za-z])([^{}]+)\}", r"\\binom{\1}{\2}"),
        (r"^([^{}\\]+)\\choose(?![A-Za-z])([^{}\\]+)$", r"\\binom{\1}{\2}"),
        (r"\\sqrt\s*\(([^()]*)\)|(?<![\\A-Za-z])sqrt\s*\(([^()]*)\)", r"\\sqrt{\1\2}"),
        (r"\\(?:leqslant|leq)(?![A-Za-z])", r"\\le "),
        (r"\\(?:geqslant|geq)(?![A-Za-z])", r"\\ge "),
        (r"<=", r"\\le "),
        (r">=", r"\\ge "),
        (r"\\neq(?![A-Za-z])", r"\\ne "),
        (r"\\lt(?![A-Za-z])", "<"),
        (r"\\gt(?![A-Za-z])", ">"),
        (r"\\lbrace(?![A-Za-z])", r"\\{"),
        (r"\\rbrace(?![A-Za-z])", r"\\}"),
        (r"\\lparen(?![A-Za-z])", "("),
        (r"\\rparen(?![A-Za-z])", ")"),
        (r"\\lbrack(?![A-Za-z])", "["),
        (r"\\rbrack(?![A-Za-z])", "]"),
        (r"\\(?:varnothing|O)(?![A-Za-z])|\\\{\s*\\\}", r"\\emptyset "),
        (r"\\infin(?![A-Za-z])", r"\\infty "),
        (r"\\colon(?![A-Za-z])", ":"),
        (r"\\pmod\s*(\d+)", r"\\pmod{\1}"),
        (r"\\(?:text)?degree(?![A-Za-z])", r"^\\circ "),
        (r"\\text\s*\{\s*\^\s*\{?\s*\\circ\s*\}?\s*([CF]?)\s*\}", r"^\\circ \1"),
        (r"(?<=\d)\s*\\Omega\s*$", r"\\text{ ohms}"),
        (r"\\%", "%"),
        (r"\\text\s*\{\s*(?:,\s*(?:and|or)?|and|or)\s*\}", ","),
        (r"\\(frac|binom)\s*(\d)\s+(\d)(?!\d)", r"\\\1{\2}{\3}"),
        (r"(?<=\d)\s*\^?\s*\{?\s*(?:\\text\s*\{\s*)?(?:st|nd|rd|th)\s*\}?\s*\}?\s*$", ""),
        (r"(?<=\d)\s*\{\s*,\s*\}\s*(?=\d{3})", ""),
    )
)
_GROUPED = (
    re.compile(r"(?<![\d.,_^])(\d{1,3}(?: +\d{3})+)(?![\d])"),
    re.compile(r"^([+-]?\s*\$?\d{1,3}(?:, ?\d{3})+)(?=$|\.\d|\s*[A-Za-z\\%])"),
    re.compile(r"^([+-]?\d{1,2}(?:,\d{2})+,\d{3})(?=$|\.\d)"),
    re.compile(r"(?<![\d.,_^'])(\d{1,3}(?:'\d{3})+)(?![\d'])"),
)
_GAP = re.compile(r"[ ,']")
_SINGLE_LETTER = re.compile(r"\\text\s*\{\s*([eid])\s*\}")


def plain_latex(text: str) -> str:
    """The text as plain LaTeX: one spelling for each command, no commands of appearance."""
    text = ascii_math(text)
    if not text.isdecimal():
        for pattern, replacement in _RULES:
            text = pattern.sub(replacement, text)
        text = _SINGLE_LETTER.sub(r"\1", text)
    return ungrouped(without_delimiters(text))


def without_delimiters(text: str) -> str:
    """The text without the signs of mathematics or emphasis around it."""
    text = re.sub(r"(?<!\\)\$|\\[()\[\]](?![0-9]*(?:pt|em))|\*\*", "", text).strip()
    while text[:1] == "{" and _closes_at_end(text):
        text = text[1:-1].strip()
    text = text.strip('`"')
    return text if text.endswith("...") else text.rstrip(".,;: ").strip()


def ungrouped(text: str) -> str:
    """The text with `1 000`, `1,000` and `1'000` as 1000."""
    for pattern in _GROUPED:
        text = pattern.sub(lambda match: _GAP.sub("", match[1]), text)
    return text


def _closes_at_end(text: str) -> bool:
    depth = 0
    for place, char in enumerate(text):
        depth += {"{": 1, "}": -1}.get(char, 0)
        if depth == 0:
            return place == len(text) - 1
    return False

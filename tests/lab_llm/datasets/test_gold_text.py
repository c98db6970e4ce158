"""Numbers as mathematics, and what is no answer."""

from decimal import Decimal

import pytest
from lab_llm.datasets.gold_text import is_blank, number_text


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ("0.00001", "0.00001"),
        ("1e-05", "0.00001"),
        ("1e16", "10000000000000000"),
        ("1e+22", "10000000000000000000000"),
        ("1e-20", "0.00000000000000000001"),
        ("1e-40", "10^{-40}"),
        ("-2.50e-35", "-2.5 \\cdot 10^{-35}"),
        ("1e300", "10^{300}"),
        ("0.1", "0.1"),
        ("0.10", "0.10"),
        ("-0.5", "-0.5"),
        ("3.0", "3"),
        ("1200.00", "1200"),
        ("12E2", "1200"),
        ("123.456e2", "12345.6"),
        ("100.5", "100.5"),
        ("0.00", "0"),
        ("-0.0", "0"),
        ("0." + "3" * 60, "0." + "3" * 60),
        ("9" * 5000, "9" * 5000),
    ],
)
def test_a_number_is_written_as_mathematics(written, text):
    assert number_text(Decimal(written)) == text


def test_an_integer_has_all_its_digits():
    assert number_text(-(10**50)) == "-1" + "0" * 50


UNSEEN = [
    "\u00a0",
    "\u3000",
    "\u200b",
    "\ufeff\u2060",
    "\u00ad",
    "\x00",
    "\u0301",
    "\u3164",
    "\u2800",
]
SIGNS = ["$$", "$ $", "\\(\\)", "\\[ \\]", "\\boxed{}", "$\\boxed{ }$"]


@pytest.mark.parametrize("text", ["", "  ", "\t\n", *UNSEEN, *SIGNS])
def test_what_shows_nothing_is_blank(text):
    assert is_blank(text)


@pytest.mark.parametrize("text", ["0", "-", "∅", "{}", "e\u0301", "\\boxed{0}", "x\u200b", "."])
def test_what_shows_something_is_not_blank(text):
    assert not is_blank(text)

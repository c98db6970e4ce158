"""Numbers as exact fractions, and units under one name, by hand."""

from fractions import Fraction

import pytest
from lab_llm.grading.exact import Exact, exact_number, same_number
from lab_llm.grading.normal_form import form
from lab_llm.grading.units import unit_named


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("12", Fraction(12)),
        ("-12", Fraction(-12)),
        ("+12", Fraction(12)),
        ("0.125", Fraction(1, 8)),
        (".5", Fraction(1, 2)),
        ("5.", Fraction(5)),
        ("3/4", Fraction(3, 4)),
        ("1 3/4", Fraction(7, 4)),
        ("-1 3/4", Fraction(-7, 4)),
        ("\\frac{3}{4}", Fraction(3, 4)),
        ("\\frac34", Fraction(3, 4)),
        ("1\\frac{3}{4}", Fraction(7, 4)),
        ("-\\frac{-3}{4}", Fraction(3, 4)),
        ("1e-05", Fraction(1, 100_000)),
        ("1e+3", Fraction(1000)),
        ("2.5\\times 10^{-1}", Fraction(1, 4)),
        ("10^{3}", Fraction(1000)),
        ("0.\\overline{3}", Fraction(1, 3)),
        ("0.1\\overline{6}", Fraction(1, 6)),
        ("0.(142857)", Fraction(1, 7)),
        ("0.1666...", Fraction(1, 6)),
    ],
)
def test_a_number_is_read_exactly(text, value):
    number = exact_number(text)
    assert number is not None
    assert number.value == value


@pytest.mark.parametrize(
    "text", ["", "-", "x", "1/0", "2x", "1,2", "3!", "1e99999999", "12 00", "."]
)
def test_other_text_is_no_number(text):
    assert exact_number(text) is None


def test_a_gold_of_six_digits_stands_for_what_rounds_to_it():
    third = Exact(Fraction(1, 3))
    assert same_number(Exact(Fraction("0.333333"), places=6), third)
    assert not same_number(Exact(Fraction("0.33333"), places=5), third)
    assert not same_number(Exact(Fraction("0.333334"), places=6), third)
    # As many digits as the gold, and another last one.
    near = Exact(Fraction("0.1234568"), places=7)
    assert not same_number(Exact(Fraction("0.1234567"), places=7), near)
    assert not same_number(third, Exact(Fraction("0.333333"), places=6))


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("km", "kilometer"),
        ("square inches", "inch^2"),
        ("in^{2}", "inch^2"),
        ("cm^3", "centimeter^3"),
        ("m/s", "meter /second"),
        ("meters per second", "meter /second"),
        ("apples", "apple"),
        ("million", ""),
    ],
)
def test_a_unit_has_one_name(text, name):
    assert unit_named(text).name == name


def test_an_answer_is_taken_apart():
    assert (form("\\textbf{(D)}\\ 12").label, form("\\textbf{(D)}\\ 12").text) == ("D", "12")
    assert (form("5\\text{ km}").unit.name, form("5\\text{ km}").text) == ("kilometer", "5")
    assert (form("50\\%").percent, form("50\\%").text) == (True, "50")
    assert (form("30^\\circ").degrees, form("30^\\circ").text) == (True, "30")
    assert form("\\$3 million").unit.factor == 1_000_000
    assert form("the Yes.").words == ("yes",)

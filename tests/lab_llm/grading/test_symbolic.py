"""A grading that runs out of memory is not read as an answer that the parser does not know."""

import pytest
from lab_llm.grading import symbolic


def exhaust(*_, **__):
    raise MemoryError


@pytest.fixture
def two():
    return symbolic.parsed("2")[0]


def test_the_parser_s_want_of_memory_is_raised(monkeypatch):
    monkeypatch.setattr("latex2sympy2_extended.latex2sympy", exhaust)
    with pytest.raises(MemoryError):
        symbolic.parsed("17 + x")


def test_the_computation_s_want_of_memory_is_raised(two):
    class Large:
        doit = exhaust

    with pytest.raises(MemoryError):
        symbolic._same_constant(Large(), two, decimal=None)


def test_the_comparison_s_want_of_memory_is_raised(monkeypatch, two):
    monkeypatch.setattr("math_verify.grader.sympy_expr_eq", exhaust)
    with pytest.raises(MemoryError):
        symbolic._verified(two, two)


def test_any_other_error_of_the_comparison_is_an_unequal_answer(monkeypatch, two):
    def fail(*_, **__):
        raise RecursionError

    monkeypatch.setattr("math_verify.grader.sympy_expr_eq", fail)
    assert symbolic._verified(two, two) is False

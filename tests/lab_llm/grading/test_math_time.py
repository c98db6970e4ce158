"""Answers that take for ever to compute: a limit that holds for every expression."""

import pytest
from lab_llm.grading.pool import GraderPool
from lab_llm.grading.verifiers import LIMIT_S, PUBLISHED_LIMIT_S, verify_math, verify_published
from lab_llm.problems import Problem


def boxed(content):
    return f"\\boxed{{{content}}}"


def nested(start, end, *, depth, core="1"):
    return start * depth + core + end * depth


COSINES = "*".join(f"\\cos({2**k}\\pi/127)" for k in range(14))
ENDLESS = {
    "an integral": r"\int_0^1 \frac{\ln(1+x^2)\arctan(x^3)}{\sqrt{1+x^7}} dx",
    "an improper integral": r"\int_0^{\infty} \frac{\sin(x^2+e^x)}{1+x^4} dx",
    "a triple integral": r"\int_0^1\int_0^1\int_0^1 \frac{1}{1-xyz} dx dy dz",
    "a product of cosines": COSINES,
    "a binomial of products": r"\binom{9999*9999}{9999*4999}",
    "a binomial of long products": r"\binom{9999*9999*9999}{9999*9999*499}",
    "a gamma function": r"\Gamma(10^{8})",
    "a continued fraction of 12": nested(r"1+\frac{1}{", "}", depth=12),
    "a continued fraction of 20": nested(r"1+\frac{1}{", "}", depth=20),
    "a continued fraction of 40": nested(r"1+\frac{1}{", "}", depth=40),
    "a tower of fractions": nested(r"\frac{1}{", "}", depth=30, core="x"),
    "a sum of sines": r"\sum_{k=1}^{100000} \sin(k^2)",
    "a nested sum": r"\sum_{i=1}^{1000}\sum_{j=1}^{1000}\sum_{k=1}^{1000} \frac{i j}{k^3+1}",
    "an endless sum": r"\sum_{k=1}^{\infty} \frac{1}{k^5+k+1}",
    "an endless alternating sum": r"\sum_{n=1}^{\infty} \frac{(-1)^n \ln n}{n^{3/2}}",
    "a tower of e": r"e^{e^{e^{e^{e}}}}",
    "a tower of nines": r"9^{9^{9^9}}",
    "a large factorial": r"100000!",
    "a factorial of a factorial": r"((10!)!)!",
    "a large power": r"10^{1000000000}",
    "a product of powers": r"\prod_{k=1}^{100000} (x+k)",
    "240 parentheses": nested("(", ")", depth=240),
    "braces": nested("{", "}", depth=240),
    "roots": nested(r"\sqrt{1+", "}", depth=60),
    "an expansion": r"(x+y+z+1)^{60}",
    "a large determinant": r"\det\begin{pmatrix}" + r"a&b&c&d&e\\" * 12 + r"\end{pmatrix}",
}


@pytest.fixture(scope="module")
def quick():
    """The rule of mathematics with a limit of 0.3 s."""
    pool = GraderPool(verify_math.pool.rule, limit_s=0.3)
    pool.grade_all([("1", "2")])
    yield pool
    pool.close()


@pytest.mark.parametrize("name", ENDLESS)
def test_an_endless_answer_earns_nothing(name, quick):
    (found,) = quick.grade_all([("5", boxed(ENDLESS[name]))])
    assert found.reward == 0.0


@pytest.mark.parametrize("name", ["a tower of nines", "an integral", "a binomial of products"])
def test_an_endless_gold_costs_its_own_gradings_only(name, quick):
    answers = [
        (ENDLESS[name], boxed("5")),
        ("5", boxed("5")),
        (ENDLESS[name], boxed(ENDLESS[name])),
    ]
    # The gold's own text needs no computing.
    assert [one.reward for one in quick.grade_all(answers)] == [0.0, 1.0, 1.0]


def test_the_limits_are_the_rules_own():
    assert (verify_math.pool.limit_s, LIMIT_S) == (2.0, 2.0)
    assert (verify_published.pool.limit_s, PUBLISHED_LIMIT_S) == (5.0, 5.0)


def test_a_completion_that_ran_out_of_time_is_counted(quick):
    verifier = type(verify_math)(verify_math.pool.rule, lambda p: (p.answer,), limit_s=0.3)
    problems = [Problem(id=str(i), prompt=(), answer="5") for i in range(3)]
    texts = [boxed("5"), boxed(ENDLESS["a sum of sines"]), boxed("6")]
    try:
        grades = verifier.grade_all(problems, texts)
    finally:
        verifier.pool.close()
    assert grades.rewards == [1.0, 0.0, 0.0]
    assert grades.timed_out == [False, True, False]

"""More neighbours of right and wrong answers, and texts that were slow to take apart."""

import time

import pytest
from lab_llm.grading.final_answer import final_answer, is_placeholder
from lab_llm.grading.math_rule import reward
from lab_llm.grading.normal_form import form

RIGHT = [
    ("B", r"\textbf{(B)}\ -\frac12"),
    ("(3,5)", r"\textbf{(B)}\ (3,5)"),
    ("40", r"\text{40 students}"),
    ("40", "40\\text{\u00a2}"),
    ("5", r"\text{Answer: 5}"),
    ("5", r"\Large 5"),
    ("5", r"\fbox{5}"),
    ("5", "\\ 5\\ "),
    ("5", "5\ufe0f"),
    ("5", "5=x"),
    ("5", "x = 5.0 = 5"),
    (r"5\text{ cm}^2", "5\\text{ cm\u00b2}"),
    (r"3\text{ m/s}", r"3\frac{\text{m}}{\text{s}}"),
    (r"3\text{ m/s}", r"3\text{ m s}^{-1}"),
    ("July 4", r"\text{4th of July}"),
    ("2:30 PM", r"2{:}30\text{ PM}"),
    ("12000", r"12{\,}000"),
    ("30", "30\\text{\u00b0}"),
    ("30", r"30\mathrm{^\circ}"),
    (r"\frac12", r"\sin{30^\circ}"),
    ("10", r"{5\choose 2}"),
    ("1011_2", "(1011)_2"),
    ("1A_{16}", "1a_{16}"),
    (r"\infty", r"\text{infinity}"),
    (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\begin{pmatrix}1\\2\\\end{pmatrix}"),
    ("y=2x+3", "f(x)=2x+3"),
]
WRONG = [
    ("yes", "yes or no"),
    ("1e-05", "e-5"),
    ("1e3", "3e"),
    ("5", r"5\text{ million}"),
    (r"\text{(A), (B)}", "A"),
    (r"5\text{ km}", r"\text{5 m}"),
    (r"\frac{\mathrm{d}y}{\mathrm{d}x}=2x", r"\frac{dy}{dx}=3x"),
    ("f(x)=2x", "g(x)=2x"),
]
SENTENCES = [
    ("B", "Therefore, option B is correct.", 1.0),
    ("A", "The answer is (A), because option B fails.", 1.0),
    ("84", "The answer is 84 or 85.", 0.0),
    ("3,5", "The answer is $x=3$ or $x=5$.", 1.0),
    (r"\frac12", "The answer is $1/2$, i.e. 50%.", 1.0),
    (r"11,\! 111,\! 100", r"The answer is 11,\! 111,\! 100.", 1.0),
    ("70000", "He made a profit of \\$70,000.", 1.0),
    ("5", "\\boxed{5} \\boxed{\\_}", 1.0),
]


@pytest.mark.parametrize(("gold", "answer"), RIGHT)
def test_right(gold, answer):
    assert reward(gold, f"\\boxed{{{answer}}}") == 1.0


@pytest.mark.parametrize(("gold", "answer"), WRONG)
def test_wrong(gold, answer):
    assert reward(gold, f"\\boxed{{{answer}}}") == 0.0


@pytest.mark.parametrize(("gold", "completion", "wanted"), SENTENCES)
def test_where_a_sentence_holds_the_answer(gold, completion, wanted):
    assert reward(gold, completion) == wanted


@pytest.mark.parametrize(
    ("take_apart", "text"),
    [
        (form, "a" + r"\text{a} " * 60 + "x"),
        (is_placeholder, r"\text" + " " * 50 + "x"),
        (final_answer, "<answer>" + r"\boxed{1}\boxed{2}" * 2000 + "</answer>"),
    ],
)
def test_a_text_is_taken_apart_without_backtracking(take_apart, text):
    started = time.process_time()
    take_apart(text)
    assert time.process_time() - started < 0.5

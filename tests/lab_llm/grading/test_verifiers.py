"""math-verify and reasoning-gym verifiers on answers written by hand."""

import threading

import pytest
from lab_llm.datasets.reasoning_gym import draw
from lab_llm.grading.verifiers import extract_answer, last_boxed, verify_math, verify_reasoning_gym
from lab_llm.problems import Problem

SUM = {"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 1}


def math_problem(answer):
    return Problem(id="m", prompt=({"role": "user", "content": "?"},), answer=answer)


@pytest.mark.parametrize(
    ("answer", "completion"),
    [
        ("540", "so \\boxed{540}."),
        ("\\left( 3, \\frac{\\pi}{2} \\right)", "it is $\\boxed{(3, \\frac{\\pi}{2})}$"),
        ("\\frac{14}{3}", "\\boxed{\\dfrac{14}{3}}"),
        ("6r^2-4r-24", "\\boxed{6r^2 - 24 - 4r}"),
        ("\\text{Evelyn}", "\\boxed{\\text{Evelyn}}"),
        ("0.5", "\\boxed{\\frac{1}{2}}"),
        ("$12$", "\\boxed{12}"),
        ("7", "first \\boxed{5}, no: \\boxed{7}"),
        ("7", "so the answer is 7"),
        ("7", "<think> 3 or 4? </think> It is 7."),
        ("7", "\\boxed{7} and then \\boxed{never closed"),
    ],
)
def test_right_answers_pass(answer, completion):
    assert verify_math(math_problem(answer), completion) == 1.0


@pytest.mark.parametrize(
    ("answer", "completion"),
    [
        ("540", "\\boxed{54}"),
        ("7", "\\boxed{7} no, \\boxed{5}"),
        ("(3, \\frac{\\pi}{2})", "\\boxed{3}"),
        ("7", ""),
        ("7", "no idea"),
        ("7", "\\boxed{"),
        ("7", "\\boxed{" + "7" * 600 + "}"),
        ("7", "\\boxed{\\frac{{{{}\x00 ü"),
        ("7", "\\begin{matrix}" * 50),
    ],
)
def test_wrong_answers_and_garbage_fail(answer, completion):
    assert verify_math(math_problem(answer), completion) == 0.0


@pytest.mark.parametrize(
    "endless",
    [
        "9^{9^{9^{9}}}",
        "100000!",
        "10^{1000000000}",
        "\\binom{1000000000}{500000000}",
        "\\gcd(10^{9^9}, 3)",
        "(x+y+z+1)^{60}",
    ],
)
def test_an_answer_too_large_to_compute_earns_nothing_but_as_the_golds_own_text(endless):
    assert verify_math(math_problem("x^2+1"), f"\\boxed{{{endless}}}") == 0.0
    assert verify_math(math_problem(endless), f"\\boxed{{{endless}}}") == 1.0


def test_ordinary_powers_are_still_computed():
    assert verify_math(math_problem("1024"), "\\boxed{2^{10}}") == 1.0
    assert verify_math(math_problem("2^{2^{10}}"), "\\boxed{4^{512}}") == 1.0
    assert verify_math(math_problem("\\binom{10}{5}"), "\\boxed{252}") == 1.0


def test_it_works_in_a_thread():
    found = []
    problem = math_problem("\\frac{1}{2}")
    thread = threading.Thread(target=lambda: found.append(verify_math(problem, "\\boxed{0.5}")))
    thread.start()
    thread.join()
    assert found == [1.0]


def test_last_boxed_balances_braces():
    assert last_boxed("a \\boxed{1} b \\boxed{\\frac{1}{2}} c") == "\\frac{1}{2}"
    assert last_boxed("\\boxed{1} \\boxed{2") == "1"
    assert last_boxed("none") is None


def test_answer_tag_comes_before_box_before_last_line():
    assert extract_answer("\\boxed{1} <answer> 2 </answer>\n3") == "2"
    assert extract_answer("<answer>1</answer> no <answer>2\n3</answer>") == "2\n3"
    assert extract_answer("it is \\boxed{ 4 }\nthe end") == "4"
    assert extract_answer("so\nthe sum: \n 12 \n\n") == "12"
    assert extract_answer(" \n") == ""


def reasoning_problem(task, answer, **entry):
    return Problem(
        id="r",
        prompt=({"role": "user", "content": "?"},),
        answer=answer,
        payload={"task": task, "task_params": {}, "entry": {"answer": answer, **entry}},
    )


def test_reasoning_gym_gives_full_marks_or_nothing():
    problem = reasoning_problem("chain_sum", "-4", question="4 - 1 - 7 =", metadata={})
    assert verify_reasoning_gym(problem, "<answer>-4</answer>") == 1.0
    # chain_sum itself gives a partial score to a text that only holds the answer.
    assert verify_reasoning_gym(problem, "<answer>it is -4</answer>") == 0.0
    assert verify_reasoning_gym(problem, "<answer>4</answer>") == 0.0


def test_a_task_that_raises_on_garbage_gives_nothing():
    problem = reasoning_problem(
        "prime_factorization", "2 \u00d7 3", question="6", metadata={"number": 6, "factors": [2, 3]}
    )
    assert verify_reasoning_gym(problem, "<answer>2 \u00d7 3</answer>") == 1.0
    assert verify_reasoning_gym(problem, "<answer>garbage</answer>") == 0.0


@pytest.mark.parametrize(
    ("completion", "answer"),
    [
        ("7 + 5 = 12. The answer is 12.", "12"),
        ("It is -3.5, I think", "-3.5"),
        ("<answer>4</answer> or 5", "4"),
        ("no idea", ""),
    ],
)
def test_the_last_number_can_be_the_answer_where_no_tag_marks_it(completion, answer):
    assert extract_answer(completion, bare="number") == answer


def test_a_sum_in_a_sentence_counts_where_a_number_is_enough():
    (strict,) = draw("chain_sum", SUM, name="t", size=1, seed=0, instruction="")
    (lenient,) = draw(
        "chain_sum", SUM, name="t", size=1, seed=0, instruction="", bare_answer="number"
    )
    text = f"The answer is {strict.answer}."
    assert verify_reasoning_gym(strict, text) == 0.0
    assert verify_reasoning_gym(lenient, text) == 1.0
    assert verify_reasoning_gym(lenient, text + " No, 1000.") == 0.0

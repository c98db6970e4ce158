"""reasoning-gym's scorers: no answer is run, and no text is right for every problem."""

import inspect
import re

import pytest
from lab_llm.datasets.reasoning_gym import check_task
from lab_llm.grading import sandbox
from lab_llm.grading.gym_rule import EVALUATES_TEXT, formula, reward
from lab_llm.grading.verifiers import verify_reasoning_gym
from lab_llm.problems import Problem
from labrun.errors import LabError
from reasoning_gym.factory import DATASETS, create_dataset

JUNK = ("", "garbage", "nan", "NaN", "nan+nanj", "inf", "0", "True", "False", "None", "[]", "()")


def problems(task, size=4, seed=5, **params):
    stream = create_dataset(task, size=size, seed=seed, **params)
    return [
        Problem(
            id=f"{task}/{i}",
            prompt=({"role": "user", "content": stream[i]["question"]},),
            answer=str(stream[i]["answer"]),
            payload={"task": task, "task_params": params, "entry": stream[i]},
        )
        for i in range(size)
    ]


def tagged(answer):
    return f"<answer>{answer}</answer>"


def grade(problem, answer):
    return verify_reasoning_gym(problem, tagged(answer))


def test_the_tasks_whose_scorer_evaluates_are_those_that_are_guarded():
    # A new release of reasoning-gym that evaluates elsewhere fails here.
    runs_text = re.compile(r"\b(?:eval|exec|parse_expr|sympify)\(")
    found = {
        name
        for name, (kind, _) in DATASETS.items()
        if runs_text.search(inspect.getsource(kind.score_answer))
    }
    # These two evaluate the reference alone, which reasoning-gym made.
    assert found - {"bitwise_arithmetic", "number_sorting", "propositional_logic"} == {
        *EVALUATES_TEXT
    }


@pytest.mark.parametrize("task", EVALUATES_TEXT)
def test_an_answer_is_never_run(task, tmp_path):
    (problem,) = problems(task, size=1)
    witness = tmp_path / "ran"
    for command in (
        f"__import__('os').system('touch {witness}')",
        f"open('{witness}', 'w')",
        f"[x for x in ().__class__.__base__.__subclasses__()] and exec(\"open('{witness}','w')\")",
    ):
        assert grade(problem, command) == 0.0
        # The guard itself, without the sandbox around it.
        assert reward(problem.payload, tagged(command)) == 0.0
    assert not witness.exists()


@pytest.mark.parametrize("task", EVALUATES_TEXT)
def test_an_endless_answer_earns_nothing(task):
    (problem,) = problems(task, size=1)
    assert grade(problem, "9**9**9**9") == 0.0


@pytest.mark.parametrize("task", [*EVALUATES_TEXT, "coin_flip", "complex_arithmetic"])
def test_the_reference_answer_is_right(task):
    for problem in problems(task, seed=1):
        if "Integral" not in problem.answer:
            assert grade(problem, problem.answer) == 1.0, problem.answer


@pytest.mark.parametrize(
    "task", [*EVALUATES_TEXT, "coin_flip", "complex_arithmetic", "game_of_life_halting"]
)
def test_no_text_is_right_for_every_problem(task):
    for problem in problems(task):
        for text in JUNK:
            if text != problem.answer:
                assert grade(problem, text) == 0.0, (text, problem.answer)


@pytest.mark.parametrize(("halts", "other"), [(True, "False"), (False, "True")])
def test_game_of_life_halting_wants_the_right_one_of_two_words(halts, other):
    problem = next(p for p in problems("game_of_life_halting", 20) if p.answer == str(halts))
    assert grade(problem, str(halts)) == 1.0
    assert grade(problem, f"{str(halts).lower()}.") == 1.0
    assert grade(problem, other) == 0.0
    assert grade(problem, "garbage") == 0.0


def test_a_beginning_of_a_probability_is_not_the_probability():
    entry = {"answer": "0.3125", "metadata": {}}
    payload = {"task": "coin_flip", "task_params": {}, "entry": entry}
    problem = Problem(id="c", prompt=(), answer="0.3125", payload=payload)
    assert grade(problem, "0.3125") == 1.0
    assert grade(problem, "5/16") == 1.0
    assert grade(problem, "0.31255") == 1.0  # within the task's own 1e-4
    assert grade(problem, "0.3") == 0.0
    assert grade(problem, "0") == 0.0
    assert grade(problem, "0.31") == 0.0


def test_24_is_made_of_the_numbers_that_were_given():
    (problem,) = problems("puzzle24", size=1)
    numbers = problem.payload["entry"]["metadata"]["numbers"]
    assert grade(problem, problem.answer) == 1.0
    assert sorted(numbers) != [1, 1, 4, 6]
    assert grade(problem, "6*4 + 1 - 1") == 0.0


def test_an_integral_is_not_answered_by_itself():
    (problem,) = problems("simple_integration", size=1)
    integrand = problem.payload["entry"]["metadata"]["integrand"]
    variable = problem.payload["entry"]["metadata"]["variable"]
    assert grade(problem, f"Integral({integrand}, {variable})") == 0.0


def test_other_forms_of_a_formula_are_right():
    product = Problem(
        id="p",
        prompt=(),
        answer="x**2 - 1",
        payload={
            "task": "polynomial_multiplication",
            "task_params": {},
            "entry": {"answer": "x**2 - 1", "metadata": {}},
        },
    )
    assert grade(product, "-1 + x**2") == 1.0
    assert grade(product, "x*x - 1") == 1.0
    assert grade(product, "x**2 + 1") == 0.0


@pytest.mark.parametrize(
    "text",
    [
        "x.__class__",
        "'a'",
        "print(1)",
        "eval(1)",
        "lambda: 1",
        "1 if x else 2",
        "Integral(x, x)",
        "test()",
        "preview(x)",
        "[1]",
        "x; y",
        "x = 1",
        "3 # 4 5",
        "{1}",
        "x\\y",
    ],
)
def test_what_is_no_formula_is_refused(text):
    with pytest.raises(ValueError, match="formula"):
        formula(text)


@pytest.mark.parametrize(
    ("text", "value"), [("2*(3 + 4)", 14.0), ("3! - .5", 5.5), ("sqrt(16) + E**0", 5), ("1e2", 100)]
)
def test_a_formula_is_computed(text, value):
    assert float(formula(text)) == value


def test_where_there_is_no_sandbox_tasks_that_evaluate_are_refused_by_name(monkeypatch):
    monkeypatch.setattr(sandbox.sys, "platform", "darwin")
    with pytest.raises(LabError, match="countdown: its scorer evaluates answers"):
        check_task("countdown", {})
    check_task("chain_sum", {})


def test_composite_is_refused_by_name():
    with pytest.raises(LabError, match=r"composite: .*dataset\.ood"):
        check_task("composite", {"datasets": [{"name": "countdown"}]})

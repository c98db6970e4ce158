"""Rewards by a function of the user's own: what it receives, and what is refused before work."""

import json

import pytest
from lab_llm.datasets.components import RowsDataset
from lab_llm.datasets.config import RowsConfig
from lab_llm.grading.verifiers import RULES, rule_of
from lab_llm.problems import Problem
from labrun.errors import LabError
from labrun.plan import Setup
from labrun.runs.context import RunContext
from labrun.runs.run_dir import RunDir

PROBLEM = Problem("p/1", ({"role": "user", "content": "1+1?"},), answer="2", solution="one and one")


def rule(function):
    return rule_of(f"own_rewards:{function}", key="dataset.reward")


def test_a_function_receives_the_texts_that_it_names():
    assert rule("ends_with").grade_all([PROBLEM] * 2, ["it is 2", "3"]).rewards == [1.0, 0.0]
    texts = ["1+1? is 2", "1+1? one and one", ""]
    assert rule("share_of_words").grade_all([PROBLEM] * 3, texts).rewards == [0.5, 1.0, 0.0]


def test_equal_names_share_their_processes():
    assert rule("ends_with") is rule("ends_with")
    assert rule_of("math_verify", key="k") is RULES["math_verify"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("math_verfy", "math_verfy: no rule; did you mean math_verify? allowed: math_verify, publ"),
        (
            "own_rewards",
            "own_rewards: no rule; allowed: math_verify, published, or module:function",
        ),
        ("own_rewards:", "own_rewards:: no rule; "),
        ("a b:c", "a b:c: no rule; "),
        ("..a:b", "..a:b: no rule; "),
        ("own_rewrds:f", "own_rewrds:f: no module 'own_rewrds'; install the package that holds it"),
        ("own_rewards.a:f", "own_rewards.a:f: no module 'own_rewards.a'; install"),
        ("own_rewards:end_with", "own_rewards:end_with: own_rewards has no 'end_with'; did you me"),
        ("own_rewards:LIMIT", "own_rewards:LIMIT is 3, no function; write def reward("),
        (
            "own_rewards:of_rows",
            "own_rewards:of_rows asks for 'row'; allowed: completion, prompt, ",
        ),
        ("own_rewards:of_nothing", "own_rewards:of_nothing has no parameter 'completion'; write "),
        ("own_rewards:later", "own_rewards:later is an async function; write "),
        ("own_rewards:by_position", "own_rewards:by_position takes 'completion' by position alone"),
        ("builtins:eval", "builtins:eval takes 'source' by position alone; write "),
        ("builtins:dict", "builtins:dict is a class; write "),
    ],
)
def test_what_is_no_reward_is_refused_in_one_line(name, message):
    with pytest.raises(LabError) as caught:
        rule_of(name, key="dataset.reward")
    assert str(caught.value).startswith(f"dataset.reward={message}")
    assert "\n" not in str(caught.value)


def test_a_module_that_raises_or_exits_is_named(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "raises_here.py").write_text("import no_such_package_here\n")
    (tmp_path / "exits_here.py").write_text("raise SystemExit(3)\n")
    for name, reason in (("raises_here", "No module named 'no_such"), ("exits_here", "SystemExit")):
        with pytest.raises(LabError, match=f"its module cannot be imported, .*{reason}"):
            rule_of(f"{name}:f", key="dataset.reward")


def test_a_prepare_that_needs_arguments_is_refused(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "prepares_other.py").write_text(
        "def prepare(data): ...\ndef reward(completion): return 1.0\n"
    )
    with pytest.raises(LabError, match="`prepare` of its module is called once before grading"):
        rule_of("prepares_other:reward", key="dataset.reward")


def test_a_function_that_fails_on_a_completion_is_an_error_that_names_it():
    later = rule("raising_later")
    assert later.grade_all([PROBLEM], ["good"]).rewards == [1.0]
    with pytest.raises(LabError) as caught:
        later.grade_all([PROBLEM] * 2, ["good", "bad"])
    said = str(caught.value)
    assert said.startswith("own_rewards:raising_later raised ZeroDivisionError: ")
    assert said.endswith(" for p/1, completion 'bad'; mend it")


def rows(tmp_path, function):
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"prompt": "1+1?", "answer": "2"}) + "\n")
    return RowsDataset(RowsConfig(path=str(path), reward=f"own_rewards:{function}"))


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("too_much", "own_rewards:too_much gave 2.0 for a/1, completion ''; allowed: a number"),
        ("not_finite", "own_rewards:not_finite gave nan for a/1, completion ''; allowed: a number"),
        ("of_text", "own_rewards:of_text gave '1.0', no number for a/1, completion ''; mend it"),
        ("of_none", "own_rewards:of_none gave None, no number for a/1, completion ''; mend it"),
        ("leaving", "own_rewards:leaving raised SystemExit: 0 for a/1, completion ''; mend it"),
        ("speechless", "own_rewards:speechless raised SilentError for a/1, completion ''; mend it"),
        ("ending", "own_rewards:ending did not end on an empty completion of a/1: it used up its"),
        ("raising", "own_rewards:raising raised ValueError: cannot read '' for a/1, completion ''"),
    ],
)
def test_the_plan_grades_an_empty_completion(function, message, tmp_path):
    with pytest.raises(LabError) as caught:
        rows(tmp_path, function).plan(Setup())
    assert str(caught.value).startswith(message)


def test_the_rule_and_its_code_stand_in_the_plan_and_in_the_run(tmp_path):
    dataset = rows(tmp_path, "ends_with")
    said = str(dataset.plan(Setup()).facts["reward"])
    assert said.startswith("own_rewards:ends_with (/")
    assert "own_rewards.py, sha256 " in said
    sets = dataset.sets
    assert sets.reward is sets.verify is rule("ends_with")
    (tmp_path / "run").mkdir()
    ctx = RunContext(
        run=RunDir(tmp_path / "run"),
        seed=0,
        attempt=0,
        devices=(),
        resume_from=None,
        keep_checkpoints=1,
    )
    dataset.load(ctx)
    dataset.load(ctx)
    (note,) = [event["message"] for event in ctx.run.events()]
    assert note.startswith("rewards by own_rewards:ends_with: ")
    ctx.note("rewards by own_rewards:ends_with: other code")
    dataset.load(ctx)
    assert [e["message"] for e in ctx.run.events() if e.get("warning")] == [
        f"{note}; it changed while the run was stopped"
    ]

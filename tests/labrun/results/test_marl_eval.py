"""marl-eval's JSON, in the shape that its README gives."""

import json
import math

import pytest
from labrun.errors import LabError
from labrun.results import compare
from labrun.results.marl_eval import to_marl_eval


def test_each_run_has_its_steps_and_absolute_metrics(make_run, event):
    runs = [
        make_run(
            *(event.score(0, 0.25), event.score(40, 0.5), event.score(40, 9.0, "Return")),
            seed=seed,
            method=method,
            sections={"dataset": {}},
        )
        for method in ("QMIX", "bc")
        for seed in (0, 1)
    ]
    text, faults = to_marl_eval(compare.arms(runs))
    tree = json.loads(text)
    assert list(tree) == ["none"]
    assert list(tree["none"]["test"]) == ["QMIX", "bc"]
    assert list(tree["none"]["test"]["QMIX"]) == ["seed_0", "seed_1"]
    assert tree["none"]["test"]["bc"]["seed_1"] == {
        "step_1": {"step_count": 0, "accuracy": [0.25] * 4},
        "step_2": {"step_count": 40, "accuracy": [0.5] * 4, "return": [9.0] * 4},
        "absolute_metrics": {"accuracy": [0.5] * 4, "return": [9.0] * 4},
    }
    assert faults == []


def test_what_marl_eval_will_refuse_is_said(make_run, event):
    runs = [
        make_run(event.score(3, 0.5), seed=s, method=m) for m, s in (("a", 0), ("a", 1), ("b", 0))
    ]
    _, (fault,) = to_marl_eval(compare.arms(runs))
    assert fault == "marl-eval wants equally many runs in none: test/b has 1, test/a has 2"


def test_a_score_that_is_not_a_number_is_refused(make_run, event):
    run = make_run(event.score(3, math.nan))
    with pytest.raises(LabError, match=f"accuracy of run {run.id} is not finite"):
        to_marl_eval(compare.arms([run]))

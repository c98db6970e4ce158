"""A command says which of its settings change nothing."""

from dataclasses import replace

from labrun.config import unused
from labrun.config.experiments import compose
from labrun.plan import Plan

IDLE = {"trainer": Plan(unused={"momentum": "trainer.method=plain", "inner.rate": "x"})}
USED = {"trainer": Plan()}


def experiment(*overrides):
    return replace(compose(["plugin=rlrt"]), overrides=("plugin=rlrt", *overrides))


def test_a_key_is_named_in_full_however_it_was_typed():
    line = "trainer.momentum changes nothing with trainer.method=plain"
    for typed in ("momentum=1", "trainer.momentum=1"):
        assert unused.remarks([experiment(typed)], [IDLE]) == [line]
    for typed in ("rate=1", "inner.rate=1"):
        found = unused.remarks([experiment(typed)], [IDLE])
        assert found == ["trainer.inner.rate changes nothing with x"]


def test_nothing_is_said_of_keys_that_no_word_sets():
    assert unused.remarks([experiment("seed=1", "entum=1")], [IDLE]) == []
    assert unused.remarks([experiment("momentum=1")], [USED]) == []


def test_of_a_sweep_the_runs_are_counted():
    experiments = [experiment("momentum=1"), experiment("momentum=2"), experiment("momentum=3")]
    line = "trainer.momentum changes nothing with trainer.method=plain (2 of 3 runs)"
    assert unused.remarks(experiments, [IDLE, USED, IDLE]) == [line]


def test_the_command_prints_it_before_the_plan_and_a_preset_is_no_word(lab_here):
    said = lab_here("run", "--dry-run", "plugin=rlrt", "method=grpo", "lam=0.9")
    assert said.returncode == 0
    assert said.stderr.splitlines() == ["lab: trainer.lam changes nothing with trainer.credit=grpo"]
    assert lab_here("run", "--dry-run", "plugin=rlrt", "method=sdft").stderr == ""

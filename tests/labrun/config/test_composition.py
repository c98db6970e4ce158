"""A composition that is kept gives what a new one gives."""

import copy
import time
from dataclasses import replace

import pytest
from labrun.config import choices, composition
from labrun.config import experiments as config
from labrun.errors import LabError
from labrun.plugins import discovery

pytestmark = pytest.mark.usefixtures("example")

POINTS = [
    ["seed=1"],
    ["seed=2", "group=1.10", "max_steps=0"],
    ["learning_rate=0.5", "decay=linear"],
    ["method=momentum", "momentum=0.5"],
    ["trainer.start.slope=2", "trainer.start.intercept=1"],
    ["start={slope: 2}", "trainer.start.intercept=1"],
    ["start={}"],
    ["trouble={sleep_s: 0.5}", "trouble.error=OSError"],
    ["trouble.script='a, b'", "num_points=3"],
    ["learning_rate=${trainer.momentum}", "momentum=0.25"],
    ["learning_rate=${.momentum}", "momentum=0.75"],
    ["learning_rate=${by:${trainer.decay},{none: 0.3, linear: 0.4}}", "decay=linear"],
    ["learning_rate=${oc.select:trainer.momentum}", "momentum=0.25"],
    ["trouble.script='\\${seed}'", "seed=3"],
    ["trainer.trouble.sleep_s=${seed}", "seed=4"],
    ["sweep=[method=plain, 'seed=0,1']", "evaluator=[mse,mae]", "mse.batch_size=2"],
    ["resources.num_cpus=2", "resources={wait: true}"],
    ["tracking.uri=sqlite:////x.db", "stop_timeout_s=0"],
]
WRONG = [
    ["seed=-1"],
    ["seed=x"],
    ["trouble=1"],
    ["max_steps=true", "learning_rate=fast"],
    ["learning_rate=${nowhere}"],
    ["learning_rate=${by:${trainer.decay},{none: 0.3}}", "decay=linear"],
    ["trainer.start.slope=x"],
    ["decay=???"],
    ["seed=1", "seed=2"],
    ["trainer=3"],
    ["group=a/b"],
]


def composed(*words: str):
    return config.compose(["plugin=example", *words])


def refusal(*words: str) -> str:
    with pytest.raises(LabError) as error:
        composed(*words)
    return str(error.value)


@pytest.fixture
def anew(monkeypatch):
    """A call that begins without any kept composition."""

    def call(function, *words):
        with monkeypatch.context() as patch:
            patch.setattr(composition, "_kept", {})
            return function(*words)

    return call


def test_a_kept_composition_gives_each_point_its_own_values(anew):
    alone = [copy.deepcopy(anew(composed, *words)) for words in POINTS]
    assert [composed(*words) for words in POINTS] == alone
    assert [composed(*words) for words in reversed(POINTS)] == alone[::-1]


def test_a_kept_composition_refuses_in_the_same_words(anew):
    alone = [anew(refusal, *words) for words in WRONG]
    assert [refusal(*words) for words in WRONG] == alone
    assert [refusal(*words) for words in WRONG] == alone


def test_values_that_an_interpolation_reads_follow_it():
    rate = "learning_rate=${by:${trainer.decay},{none: 0.3, linear: 0.4}}"
    assert composed(rate).settings["trainer"]["learning_rate"] == 0.3
    assert composed(rate, "decay=linear").settings["trainer"]["learning_rate"] == 0.4
    assert composed(rate, "decay=none").settings["trainer"]["learning_rate"] == 0.3


def test_a_preset_that_reads_another_key_follows_the_command_line():
    words = ["plugin=epistemic", "scale=paper", "method=sdpo"]
    rates = [
        config.compose([*words, *more]).settings["trainer"]["learning_rate"]
        for more in ([], ["objective=grpo"], ["learning_rate=0.5"], [])
    ]
    assert rates == [1e-5, 1e-6, 0.5, 1e-5]


def test_what_a_caller_does_to_its_values_stays_its_own():
    composed("seed=1").settings["trainer"]["trouble"]["sleep_s"] = 99
    assert composed("seed=1").settings["trainer"]["trouble"]["sleep_s"] == 0.0


def test_a_point_of_a_sweep_costs_a_small_part_of_the_first_one(anew):
    began = time.process_time()
    anew(composed, "seed=0")
    first = time.process_time() - began
    composed("seed=0")
    began = time.process_time()
    for seed in range(20):
        composed(f"seed={seed}", "max_steps=0")
    assert time.process_time() - began < 20 * first / 2


def test_compositions_are_not_kept_without_end(monkeypatch):
    monkeypatch.setattr(composition, "MOST_KEPT", 2)
    monkeypatch.setattr(composition, "_kept", {})
    for steps in range(4):
        composed(f"trainer.start.slope={steps}", f"method={'plain' if steps % 2 else 'momentum'}")
        composed("scale=long")
    assert len(composition._kept) == 2
    assert all(len(one.variants) <= 2 for one in composition._kept.values())


def test_presets_that_another_plugin_declared_in_this_process_are_not_seen():
    others = {"trainer": {"learning_rate": 0.125}}
    declared = {"method": {"clip_higher": others}}
    choices.register(replace(discovery.load("rlrt"), presets_in_python=declared), {})
    settings = config.compose(["plugin=rlrt", "method=clip_higher"]).settings
    assert settings["trainer"]["learning_rate"] == 5e-4

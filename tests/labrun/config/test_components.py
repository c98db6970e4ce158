"""The plan of a run: who is asked in which order, and what each is told."""

import pytest
from labrun.config.components import Parts
from labrun.contract import TrainResult
from labrun.errors import LabError
from labrun.experiment import ResourcesConfig
from labrun.plan import Plan


class Data:
    def load(self, ctx):
        return [1, 2]

    def fingerprint(self):
        return ""


class OfferedData(Data):
    def plan(self, setup):
        return Plan({"points": 2}, offers=[1, 2])


class Trainer:
    def fit(self, ctx, data):
        return TrainResult(None, 0)


class SharingTrainer(Trainer):
    def plan(self, setup):
        return Plan({"told": setup.data}, ["a wheel"], max_processes=2, offers="model")


class Evaluator:
    def plan(self, setup):
        told = {"data": setup.data, "model": setup.model, "others": [*setup.evaluators]}
        return Plan(told | {"processes": setup.num_processes})

    def evaluate(self, ctx, model, data):
        return []


def test_each_component_is_told_what_those_before_it_offer():
    parts = Parts(SharingTrainer(), OfferedData(), {"a": Evaluator(), "b": Evaluator()})
    plans = parts.plan(ResourcesConfig(num_processes=2))
    assert [*plans] == ["dataset", "trainer", "evaluator.a", "evaluator.b"]
    assert plans["trainer"].facts == {"told": [1, 2]}
    assert plans["trainer"].missing == ["a wheel"]
    told = {"data": [1, 2], "model": "model", "others": ["a", "b"], "processes": 2}
    assert plans["evaluator.b"].facts == told


def test_a_component_without_a_plan_says_nothing_and_offers_nothing():
    plans = Parts(Trainer(), Data(), {"a": Evaluator()}).plan(ResourcesConfig())
    assert plans["dataset"] == plans["trainer"] == Plan()
    assert plans["evaluator.a"].facts["data"] is None
    assert plans["evaluator.a"].facts["model"] is None


def test_what_was_offered_is_let_go_when_all_are_planned():
    plans = Parts(SharingTrainer(), OfferedData(), {}).plan(ResourcesConfig())
    assert [plan.offers for plan in plans.values()] == [None, None]


@pytest.mark.parametrize(
    ("trainer", "message"),
    [
        (Trainer(), "resources.num_processes=3: this trainer uses at most 1"),
        (SharingTrainer(), "resources.num_processes=3: this trainer uses at most 2"),
    ],
)
def test_a_trainer_shares_its_work_as_far_as_its_plan_says(trainer, message):
    with pytest.raises(LabError, match=message):
        Parts(trainer, Data(), {}).plan(ResourcesConfig(num_processes=3))

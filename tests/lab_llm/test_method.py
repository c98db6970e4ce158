"""A GRPO method in one call: its description, its trainer, the rollouts for its test."""

import pytest
from lab_llm.method import AdvantageTrainer, GRPOSettings, grpo_plugin, rollouts_of
from labrun.errors import LabError
from labrun.plan import Setup
from labrun.plugins.discovery import resolve


def doubled(rollouts, config):
    return 2 * config.temperature * rollouts.advantages


def test_the_description_names_trainer_presets_and_baseline():
    info = grpo_plugin("twice", summary="twice", advantages=f"{__name__}:doubled")
    assert info.defaults["trainer"] == "twice"
    assert set(info.presets_in_python["method"]) == {"grpo", "twice"}
    assert info.groups == {"method": "twice", "scale": "tiny"}
    trainer = resolve(info.components[0].factory)(GRPOSettings())
    assert isinstance(trainer, AdvantageTrainer)
    assert trainer.plan(Setup()).max_processes is None


def test_a_plugin_named_as_the_baseline_is_refused():
    with pytest.raises(LabError, match="would hide the baseline"):
        grpo_plugin("grpo", summary="x", advantages="x:y")
    with pytest.raises(LabError, match="would hide the baseline"):
        grpo_plugin("mine", summary="x", advantages="x:y", presets={"grpo": {"beta": 0.1}})


def test_rollouts_for_a_test_have_the_advantage_where_the_mask_is_one():
    rollouts = rollouts_of(advantages=[2.0, -1.0], mask=[[1.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    assert rollouts.advantages.tolist() == [[2.0, 2.0, 0.0], [-1.0, 0.0, 0.0]]
    assert rollouts.lengths.tolist() == [2, 1]
    assert rollouts.num_tokens == 3

"""Variants of a method in a toolkit's short form."""

import pytest
from lab_llm.method import grpo_plugin
from lab_marl.method import offline_plugin
from labrun.errors import LabError
from labrun.plugins.method_presets import method_presets


def test_variants_are_settings_of_the_trainer():
    assert method_presets("mine", None) == {}
    assert method_presets("mine", {"slow": {"gain": 0.1}}) == {"slow": {"trainer": {"gain": 0.1}}}


@pytest.mark.parametrize("make", [grpo_plugin, offline_plugin])
@pytest.mark.parametrize(
    ("presets", "said"),
    [
        (["x"], 'plugin \'mine\': presets is a list, no mapping; write {"NAME": {"KEY": value}}'),
        ({"x": 3}, "plugin 'mine': presets['x'] is a int, no mapping of the trainer's settings;"),
    ],
)
def test_another_form_is_one_line_that_says_what_to_write(make, presets, said):
    loss = {"advantages": "m:f"} if make is grpo_plugin else {"loss": "m:f"}
    with pytest.raises(LabError) as told:
        make("mine", summary="A method.", presets=presets, **loss)
    assert str(told.value).startswith(said)
    assert "\n" not in str(told.value)

"""Settings that a method's plan calls unused change no update."""

from dataclasses import replace

import pytest
import torch
from lab_marl.cloning.config import BCConfig
from lab_marl.cloning.learner import BCLearner
from lab_marl.cloning.method import bc
from lab_stairs.config import MixerConfig, NetworkConfig, StairsConfig
from lab_stairs.learner import StairsLearner
from lab_stairs.methods import stairs
from stairs_cases import grid_layout, random_batch

SMALL = NetworkConfig(width=8, ffn_factor=2)
MIXER = MixerConfig(entity_width=8, attention_width=4, hyper_width=8, mixing_width=4)
OTHER = {
    "network.h_cycles": 3,
    "network.l_cycles": 2,
    "network.schedule": "hrm",
    "network.gradient": "full",
    "network.high_step": 2,
}
"""Key -> a value that is not its default."""


def changed(config, keys):
    """The config with other values of the keys."""
    network = {key.removeprefix("network."): OTHER[key] for key in keys if "." in key}
    config = replace(config, **{key: OTHER[key] for key in keys if "." not in key})
    return replace(config, network=replace(config.network, **network)) if network else config


def trained(learner, config, layout) -> dict[str, torch.Tensor]:
    """The policy's weights after three updates."""
    torch.manual_seed(0)
    made = learner([layout], config, device=torch.device("cpu"))
    for _ in range(3):
        made.update(random_batch(layout, [6, 3, 4]))
    return {name: value.clone() for name, value in made.network.state_dict().items()}


@pytest.mark.parametrize(
    ("config", "some"),
    [
        (StairsConfig(network=replace(SMALL, spatial=False), mixer=MIXER), "network.gradient"),
        (StairsConfig(network=replace(SMALL, temporal=False), mixer=MIXER), "network.high_step"),
    ],
    ids=["no_spatial", "no_temporal"],
)
def test_what_is_called_unused_changes_no_weight_of_stairs(config, some):
    keys = stairs.unused(config)
    assert some in keys
    layout = grid_layout()
    before = trained(StairsLearner, config, layout)
    after = trained(StairsLearner, changed(config, keys), layout)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_stairs_as_published_uses_every_key():
    assert stairs.unused(StairsConfig()) == {}


def test_cloning_has_no_discount():
    assert bc.unused(BCConfig()).keys() == {"gamma"}
    before, after = (trained(BCLearner, BCConfig(gamma=g), grid_layout()) for g in (0.99, 0.5))
    assert all(torch.equal(before[name], after[name]) for name in before)

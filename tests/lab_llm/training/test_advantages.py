"""GRPO's advantage of a rollout, by hand."""

import pytest
import torch
from lab_llm.training.advantages import group_advantages
from torch import tensor

# groups (1, 0, 0, 0), (1, 1, 0, 0), (1, 1, 1, 1): means 1/4, 1/2, 1; deviations 1/2, sqrt(1/3), 0
REWARDS = tensor([1.0, 0, 0, 0, 1, 1, 0, 0, 1, 1, 1, 1], dtype=torch.float64)
CENTRED = tensor([0.75, -0.25, -0.25, -0.25, 0.5, 0.5, -0.5, -0.5, 0, 0, 0, 0], dtype=torch.float64)
# all 12 rewards, 7 of them 1: mean 7/12, sum of squared differences 35/12


@pytest.mark.parametrize(
    ("scale", "divisors"),
    [
        ("group", [0.5 + 1e-4] * 4 + [(1 / 3) ** 0.5 + 1e-4] * 4 + [1.0] * 4),
        ("batch", [(35 / 12 / 11) ** 0.5 + 1e-4] * 12),
        ("none", [1.0] * 12),
    ],
)
def test_the_reward_less_its_groups_mean_over_the_deviation(scale, divisors):
    got = group_advantages(REWARDS, group_size=4, scale=scale)
    torch.testing.assert_close(got, CENTRED / tensor(divisors, dtype=torch.float64))


@pytest.mark.parametrize("scale", ["group", "batch", "none"])
def test_equal_rewards_have_no_advantage_whatever_rounding_leaves(scale):
    # the mean of three times 0.9 in float32 is not 0.9
    rewards = tensor([0.9, 0.9, 0.9, 1.0, 0.0, 0.0])
    got = group_advantages(rewards, group_size=3, scale=scale)
    assert got[:3].tolist() == [0.0] * 3
    assert got[3] > 0 > got[4]

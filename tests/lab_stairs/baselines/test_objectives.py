"""Terms that several baselines share, on values worked out by hand."""

import math

import pytest
import torch
from lab_stairs.baselines.objectives import stepwise_mean, swapped_attention

tensor = torch.tensor


def test_stepwise_mean_gives_every_step_the_same_weight():
    values, steps = tensor([1.0, 3.0, 10.0]), tensor([0, 0, 1])
    # Step 0: (1 + 3) / 4 = 1; step 1: 10 / 2 = 5; their mean is 3.
    assert stepwise_mean(values, steps, tensor([4.0, 2.0])).item() == pytest.approx(3.0)


def test_swapped_attention_runs_over_the_queries():
    queries, keys = tensor([[[math.log(3)], [0.0]]]), tensor([[[1.0], [0.0]]])
    values = tensor([[[4.0], [8.0]]])
    # Key 1: weights 3/4 and 1/4, so 5; key 0: equal weights, so 6.
    out = swapped_attention(queries, keys, values)
    torch.testing.assert_close(out, tensor([[[5.0], [6.0]]]))

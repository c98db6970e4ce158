"""The terms of behaviour cloning, on values worked out by hand."""

import math

import pytest
import torch
from lab_marl.cloning.objectives import action_cross_entropy, cross_entropy_cloning, returns_to_go

tensor = torch.tensor


def test_return_to_go_is_the_sum_of_what_is_still_to_come():
    reward = tensor([[1.0, 0.0], [2.0, 5.0], [4.0, 0.0]])
    assert returns_to_go(reward).tolist() == [[7.0, 5.0], [6.0, 5.0], [4.0, 0.0]]


def test_action_cross_entropy_is_each_agents():
    logits = tensor([[[0.0, 0.0], [math.log(3), 0.0]]])
    # Agent 0: log 2; agent 1, action 0 of probability 3/4: log(4/3).
    (got,) = action_cross_entropy(logits, tensor([[1, 0]])).tolist()
    assert got == pytest.approx([math.log(2), math.log(4 / 3)])


def test_cross_entropy_cloning_sums_weighted_rows_over_agents_and_steps():
    # Agent 0: logits (0, 0) -> log 2. Agent 1: logits (log 3, 0), action 0 -> log(4/3).
    row = [[0.0, 0.0], [math.log(3), 0.0]]
    q = tensor([row, row, row])
    actions = tensor([[0, 0], [1, 0], [0, 0]])
    weight = tensor([1.0, 1.0, 0.0])
    expected = 2 * (math.log(2) + math.log(4 / 3)) / (4 * 2)
    made = cross_entropy_cloning(q, actions, weight, steps=tensor(4.0))
    assert made.item() == pytest.approx(expected)

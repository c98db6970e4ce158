"""The losses against values worked out by hand."""

import math

import pytest
import torch
from lab_marl.networks.greedy import UNAVAILABLE
from lab_stairs.objectives import (
    double_q_values,
    mixed_value,
    pooled_entities,
    q_value_cloning,
    td_loss,
    td_targets,
)

tensor = torch.tensor


def test_double_q_takes_the_targets_value_of_the_online_networks_available_choice():
    online = tensor([[[1.0, 5.0, 9.0]]])
    target = tensor([[[10.0, 20.0, 30.0]]])
    allowed = tensor([[[True, True, False]]])
    # 9 is forbidden, so the online network chooses action 1; the target gives 20 for it.
    assert double_q_values(online, target, allowed).tolist() == [[20.0]]


def test_double_q_of_an_agent_that_may_do_nothing_is_no_targets_value():
    q = tensor([[[1.0, 5.0]]])
    (value,) = double_q_values(q, q, torch.zeros(1, 1, 2, dtype=torch.bool)).flatten().tolist()
    assert value == UNAVAILABLE


def test_double_q_carries_no_gradient():
    online = torch.zeros(1, 1, 2, requires_grad=True)
    assert not double_q_values(online, online, torch.ones(1, 1, 2, dtype=torch.bool)).requires_grad


def test_td_target_is_reward_plus_discounted_next_value_unless_terminated():
    reward = tensor([[1.0, 1.0], [2.0, 2.0], [0.0, 0.0]])
    terminated = tensor([[0.0, 1.0], [0.0, 0.0], [0.0, 0.0]])
    following = tensor([[100.0, 100.0], [10.0, 10.0], [4.0, 4.0]])
    # column 0: 1 + .5 * 10 = 6, 2 + .5 * 4 = 4; column 1: terminated, so 1; then 4 again.
    targets = td_targets(reward, terminated, following.requires_grad_(), gamma=0.5)
    assert targets.tolist() == [[6.0, 1.0], [4.0, 4.0]]
    assert not targets.requires_grad


def test_td_loss_is_the_mean_square_over_transitions():
    total = tensor([[1.0, 2.0], [3.0, 50.0], [70.0, 90.0]])
    targets = tensor([[0.0, 0.0], [1.0, 1.0]])
    transitions = tensor([[1.0, 1.0], [1.0, 0.0], [0.0, 0.0]])
    # (1 + 4 + 4) / 3; the value 50 belongs to no transition, and the last frame has no target.
    assert td_loss(total, targets, transitions).item() == pytest.approx(3.0)


def test_td_loss_of_a_batch_without_transitions_is_zero():
    assert td_loss(torch.ones(2, 1), torch.zeros(1, 1), torch.zeros(2, 1)).item() == 0


def test_q_value_cloning_is_minus_the_mean_value_of_the_datasets_actions():
    q = tensor([[[1.0, 2.0], [3.0, 4.0]], [[5.0, 6.0], [7.0, 8.0]]])
    actions = tensor([[1, 0], [0, 1]])
    # row 0: 2 + 3; row 1 has weight 1/2: (5 + 8) / 2 = 6.5; over 2 agents and 2 steps.
    made = q_value_cloning(q, actions, tensor([1.0, 0.5]), steps=tensor(2.0))
    assert made.item() == pytest.approx(-11.5 / 4)


def test_pooled_entities_average_over_keys_what_is_weighted_over_queries():
    entities = tensor([[[1.0], [3.0]]])
    keys = tensor([[[0.0], [1.0]]])
    queries = tensor([[[0.0], [math.log(3)]]])
    # key 0 scores (0, 0): weights (1/2, 1/2), sum 2. Key 1 scores (0, log 3): (1/4, 3/4), 2.5.
    assert pooled_entities(entities, keys, queries).item() == pytest.approx(2.25)


def test_pooling_divides_scores_by_the_root_of_the_key_width():
    entities = tensor([[[0.0, 0, 0, 0], [1.0, 1, 1, 1]]])
    keys = torch.zeros(1, 2, 4)
    keys[0, :, 0] = 1
    queries = torch.zeros(1, 2, 4)
    queries[0, 1, 0] = 2 * math.log(3)
    # width 4: scores (0, 2 log 3 / 2), weights (1/4, 3/4) for either key.
    assert pooled_entities(entities, keys, queries)[0, 0].item() == pytest.approx(0.75)


def test_mixed_value_weighs_values_by_absolute_weights():
    q = tensor([[2.0, -1.0]])
    first = tensor([[[-1.0, 1.0], [3.0, -0.5]]])
    bias = tensor([[0.0, 0.0]])
    final = tensor([[-2.0, 1.0]])
    # hidden: 2*1 - 1*3 = -1 -> ELU = e^-1 - 1; 2*1 - 1*.5 = 1.5. Q_tot = 2 (e^-1 - 1) + 1.5 + 10.
    made = mixed_value(q, first, bias, final, tensor([10.0]))
    assert made.item() == pytest.approx(2 * (math.exp(-1) - 1) + 11.5)


def test_mixed_value_adds_the_bias_before_the_nonlinearity():
    made = mixed_value(
        tensor([[1.0]]), tensor([[[1.0]]]), tensor([[-3.0]]), tensor([[1.0]]), tensor([0.0])
    )
    assert made.item() == pytest.approx(math.exp(-2) - 1)


def test_mixed_value_never_falls_when_an_agents_value_rises():
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    q = draw(64, 3).requires_grad_()
    mixed_value(q, draw(64, 3, 8), draw(64, 8), draw(64, 8), draw(64)).sum().backward()
    assert q.grad is not None
    assert (q.grad >= 0).all()

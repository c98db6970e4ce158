"""UPDeT-l and UPDeT-m."""

import dataclasses

import pytest
import torch
from baseline_cases import CPU, MIXED, best, continues_exactly, replay, set_weights, wave_batch
from lab_marl.episodes.layouts import Layout
from lab_marl.networks.rows import filled_rows
from lab_stairs.baselines.config import UPDeTConfig
from lab_stairs.baselines.objectives import conservative_gap, greedy_values
from lab_stairs.baselines.updet import UPDeTLearner
from lab_stairs.config import MixerConfig
from lab_stairs.methods import check_updet
from labrun import LabError
from stairs_cases import grid_layout, marine_layout

tensor = torch.tensor
GRID, MARINES = grid_layout(3), marine_layout(3, 4)


def learner(layout: Layout, **settings) -> UPDeTLearner:
    made = UPDeTLearner([layout], UPDeTConfig(**{**MIXED, **settings}), device=CPU)
    set_weights(made.online.agents)
    set_weights(made.online.mixer)
    made.target.load_state_dict(made.online.state_dict())
    return made


def test_greedy_value_is_that_of_the_best_available_action_and_carries_the_gradient():
    q = tensor([[[1.0, 5.0, 9.0]]], requires_grad=True)
    values = greedy_values(q, tensor([[[True, True, False]]]))
    assert values.tolist() == [[5.0]]
    (gradient,) = torch.autograd.grad(values.sum(), q)
    assert gradient.tolist() == [[[0, 1, 0]]]


def test_conservative_gap_is_the_mean_advantage_of_greedy_actions_over_the_data():
    greedy = tensor([[5.0, 2.0], [4.0, 9.0]])
    data = tensor([[1.0, 2.0], [2.0, 0.0]])
    # Of the gaps 4, 0, 2 and 9 the last belongs to no transition: 6 / 3.
    assert conservative_gap(greedy, data, tensor([[1.0, 1.0], [1.0, 0.0]])).item() == 2
    assert conservative_gap(greedy, data, torch.zeros(2, 2)).item() == 0


def test_losses_do_not_see_padding():
    batch = wave_batch(MARINES, [4, 2])
    padding = ~batch.packed()
    obs = batch.obs.clone()
    obs[padding] = 100
    made = learner(MARINES)
    torch.testing.assert_close(
        made.losses(dataclasses.replace(batch, obs=obs)).total, made.losses(batch).total
    )


@pytest.mark.parametrize("mixing", ["sum", "attention"])
def test_masks_of_the_frame_after_the_end_change_neither_loss_nor_gradient(mixing):
    batch = wave_batch(MARINES, [4, 2])
    avail = batch.avail_actions.clone()
    avail[4, 0], avail[2, 1] = False, False
    gradients = []
    for one in (batch, dataclasses.replace(batch, avail_actions=avail)):
        made = learner(MARINES, mixing=mixing)
        made.losses(one).total.backward()
        gradients.append([p.grad for p in made.online.parameters() if p.grad is not None])
    torch.testing.assert_close(*gradients)


def test_discount_and_weight_are_the_settings():
    batch = wave_batch(GRID, [3])
    plain, myopic = learner(GRID).losses(batch), learner(GRID, gamma=0.0).losses(batch)
    assert plain.td != myopic.td
    doubled = learner(GRID, conservative_weight=2.0).losses(batch)
    torch.testing.assert_close(doubled.total, plain.td + 2 * plain.conservative)


def test_targets_are_copied_after_the_given_number_of_updates():
    made = learner(GRID, target_update_every=2)
    batch = wave_batch(GRID, [3])
    online, target = (net.agents.head.weight for net in (made.online, made.target))
    start = online.detach().clone()
    made.update(batch)
    assert torch.equal(target, start)
    assert not torch.equal(online, start)
    made.update(batch)
    assert torch.equal(target, online)


def test_policy_takes_the_best_available_action_and_remembers():
    made = learner(MARINES)
    played = replay(made.policy(), wave_batch(MARINES, [5, 5]))
    scores = made.online.agents(played, filled_rows(played))
    assert torch.equal(played.actions, best(scores, played))


@pytest.mark.parametrize("mixing", ["sum", "attention"])
def test_resumed_training_is_exact(mixing):
    config = UPDeTConfig(mixing=mixing, target_update_every=2, **MIXED)
    batches = [wave_batch(MARINES, [3, 2]), wave_batch(MARINES, [4]), wave_batch(MARINES, [2])]
    assert continues_exactly(
        lambda: UPDeTLearner([MARINES], config, device=CPU),
        [*batches, *batches[:2]],
        saved_after=3,
    )


def test_a_continuous_task_is_refused():
    with pytest.raises(LabError, match="UPDeT chooses among discrete actions"):
        learner(dataclasses.replace(GRID, continuous=True))


def test_settings_of_a_mixer_that_is_not_there_are_refused():
    config = UPDeTConfig(mixing="sum", mixer=MixerConfig(mixing_width=8))
    with pytest.raises(LabError, match=r"trainer\.mixing=sum has no mixer"):
        check_updet(config, [GRID], [GRID])

"""HiSSD: its own losses, its three gradients, its negatives."""

import dataclasses
import math

import pytest
import torch
from baseline_cases import CPU, MIXED, best, continues_exactly, replay, set_weights, wave_batch
from lab_marl.networks.embedding import batch_features
from lab_marl.networks.rows import filled_rows
from lab_stairs.baselines.config import HiSSDConfig
from lab_stairs.baselines.hissd.learner import HiSSDLearner
from lab_stairs.baselines.hissd.objectives import (
    expectile_value_loss,
    planner_weight,
    prediction_error,
    skill_contrast,
)
from lab_stairs.methods import check_hissd
from labrun import LabError
from stairs_cases import grid_layout, marine_layout

tensor = torch.tensor
GRID, MARINES = grid_layout(3), marine_layout(3, 4)
OTHER = dataclasses.replace(MARINES, task="other")


def learner(*layouts, **settings) -> HiSSDLearner:
    made = HiSSDLearner(layouts, HiSSDConfig(**{**MIXED, **settings}), device=CPU)
    set_weights(made.network)
    set_weights(made.mixer)
    made.target.load_state_dict(made.online.state_dict())
    return made


def updated(made: HiSSDLearner, batches) -> list[dict[str, float]]:
    metrics = []
    for step, batch in enumerate(batches):
        torch.manual_seed(step)
        metrics.append(made.update(batch))
    return metrics


def test_value_loss_multiplies_the_mean_weight_with_the_mean_square():
    total, targets = tensor([[1.0, 0.0], [5.0, 9.0], [7.0, 7.0]]), tensor([[0.0, 2.0], [4.0, 0.0]])
    transitions = tensor([[1.0, 1.0], [1.0, 0.0], [0.0, 0.0]])
    # Errors 1, -2, 1 and 0 (padding): weights .9, .1, .9, .9, mean .7; squares 6 over 3 steps.
    loss = expectile_value_loss(total, targets, transitions, expectile=0.9)
    assert loss.item() == pytest.approx(0.7 * 2)


def test_planner_weight_is_the_clamped_exponential_of_the_mean_advantage():
    value, planned = tensor([[1.0], [2.0], [50.0]]), tensor([[70.0], [4.0], [3.0]])
    reward, transitions = tensor([[1.0], [0.5], [0.0]]), tensor([[1.0], [1.0], [0.0]])
    value.requires_grad_()
    # Advantages 1 + .5 * 4 - 1 = 2 and .5 + .5 * 3 - 2 = 0, mean 1.
    settings = {"gamma": 0.5, "scale": 2.0}
    weight = planner_weight(value, planned, reward, transitions, largest=100.0, **settings)
    assert weight.item() == pytest.approx(math.exp(2))
    assert not weight.requires_grad
    clamped = planner_weight(value, planned, reward, transitions, largest=3.0, **settings)
    assert clamped.item() == 3


def test_prediction_error_adds_the_means_over_allies_and_over_enemies():
    allies = (tensor([[[1.0, 3.0]]]), tensor([[[0.0, 0.0]]]))
    enemies = (tensor([[[2.0], [0.0]]]), tensor([[[0.0], [0.0]]]))
    # Allies (1 + 9) / 2 = 5, enemies (4 + 0) / 2 = 2.
    predicted, actual = (allies[0], enemies[0]), (allies[1], enemies[1])
    assert prediction_error(predicted, actual).tolist() == [7.0]


def test_contrast_names_the_first_positive_the_right_one_for_every_row():
    current, positive, negative = tensor([[1.0]]), tensor([[math.log(3)]]), tensor([[0.0]])
    bilinear = torch.ones(1, 1)
    # Row 1: logits log 3 and 0, so log(4/3). Row 2, the negative: logits 0 and 0, so log 2.
    loss = skill_contrast(current, positive, negative, bilinear)
    assert loss.item() == pytest.approx((math.log(4 / 3) + math.log(2)) / 2)


def test_contrast_sends_a_gradient_to_the_current_codes_and_the_bilinear_form_only():
    parts = [torch.randn(2, 3, requires_grad=True) for _ in range(3)]
    bilinear = torch.randn(3, 3, requires_grad=True)
    skill_contrast(*parts, bilinear).backward()
    assert [part.grad is not None for part in (*parts, bilinear)] == [True, False, False, True]


def test_the_negatives_are_those_of_the_other_task_that_was_first_seen_last():
    batch, third = wave_batch(MARINES, [3, 2]), "third"
    codes = [torch.randn(5, MIXED["transformer"].width) for _ in range(2)]
    found = []
    for negatives in (
        {OTHER.task: codes[0], third: codes[1]},
        {third: codes[1]},
        {OTHER.task: codes[0]},
        {third: codes[1], MARINES.task: codes[0]},
    ):
        made = learner(MARINES, OTHER)
        made.negatives = negatives
        torch.manual_seed(0)
        found.append(made.cloning_losses(batch)[1].item())
    assert found[0] == found[1] == found[3] != found[2]


def test_without_another_task_nothing_is_contrasted():
    made = learner(MARINES)
    batch = wave_batch(MARINES, [3, 2])
    assert [m["contrast_loss"] for m in updated(made, [batch] * 3)] == [0, 0, 0]


def test_loss_is_the_sum_of_what_is_minimised():
    made = learner(MARINES, OTHER, contrast_weight=0.5)
    metrics = updated(made, [wave_batch(MARINES, [3]), wave_batch(OTHER, [2])])[1]
    cloning = metrics["bc_loss"] + 0.5 * metrics["contrast_loss"]
    planner = metrics["planner_weight"] * metrics["prediction_loss"]
    assert metrics["loss"] == pytest.approx(cloning + metrics["value_loss"] + planner)


def test_the_planners_gradient_waits_for_the_next_task_or_the_end_of_the_round():
    made = learner(MARINES, OTHER)
    first = made.network.predictor.own.weight
    before = first.detach().clone()
    made.update(wave_batch(MARINES, [3]))
    assert torch.equal(first, before)
    assert first.grad is not None
    made.update(wave_batch(OTHER, [2]))
    assert not torch.equal(first, before)
    assert first.grad is None


def test_nets_for_the_planned_value_are_never_trained():
    made = learner(MARINES, OTHER, weight_decay=0.1)
    before = [values.detach().clone() for values in made.network.for_value.parameters()]
    updated(made, [wave_batch(MARINES, [3]), wave_batch(OTHER, [2])])
    assert all(map(torch.equal, before, made.network.for_value.parameters()))


def test_targets_are_copied_after_the_given_number_of_updates():
    made = learner(MARINES, target_update_every=2)
    online, target = (net.value.head[0].weight for net in (made.online, made.target))
    start = target.clone()
    made.update(wave_batch(MARINES, [3]))
    assert torch.equal(target, start)
    assert not torch.equal(online, start)
    made.update(wave_batch(MARINES, [3]))
    assert torch.equal(target, online)


def test_filled_mask_does_not_see_padding():
    batch = wave_batch(MARINES, [4, 2])
    obs, state = batch.obs.clone(), batch.state.clone()
    obs[~batch.packed()] = 100
    state[~batch.packed()] = 100
    padded = dataclasses.replace(batch, obs=obs, state=state)
    metrics = [
        updated(learner(MARINES, OTHER, bc_mask="filled"), [wave_batch(OTHER, [3]), part])[1]
        for part in (batch, padded)
    ]
    assert metrics[0] == pytest.approx(metrics[1])


def test_filled_planner_sees_only_the_state_after_a_transition():
    """One episode alone gives the same error about the next state under both masks."""
    batch = wave_batch(MARINES, [3])
    errors = [learner(MARINES, bc_mask=m).planner_losses(batch)[1] for m in ("published", "filled")]
    torch.testing.assert_close(errors[0], errors[1])


@pytest.mark.parametrize("layout", [GRID, MARINES], ids=["grid", "marines"])
def test_policy_gives_the_controller_both_kinds_of_skill(layout):
    made = learner(layout)
    played = replay(made.policy(), wave_batch(layout, [5, 5]))
    rows = filled_rows(played)
    features = batch_features(played, rows, id_bits=4)
    skills = made.network.planner(features, rows.counts)
    scores = made.network.controller(
        layout,
        features,
        made.network.for_action(layout, skills),
        made.network.task_encoder.skills(features),
        rows.counts,
    )
    assert torch.equal(played.actions, best(scores, played))


@pytest.mark.parametrize("saved_after", [1, 2, 3])
def test_resumed_training_is_exact_inside_a_round_too(saved_after):
    config = HiSSDConfig(**MIXED, target_update_every=2)
    batches = [wave_batch(MARINES, [3, 2]), wave_batch(OTHER, [4])] * 2 + [wave_batch(OTHER, [2])]
    assert continues_exactly(
        lambda: HiSSDLearner([MARINES, OTHER], config, device=CPU), batches, saved_after=saved_after
    )


def test_a_task_with_one_agent_is_refused():
    with pytest.raises(LabError, match="HiSSD contrasts two agents of a team"):
        learner(marine_layout(1, 2))


def test_a_continuous_task_is_refused():
    with pytest.raises(LabError, match="HiSSD chooses among discrete actions"):
        learner(dataclasses.replace(GRID, continuous=True))


def test_one_training_task_has_nothing_to_be_told_apart_from():
    with pytest.raises(LabError) as caught:
        check_hissd(HiSSDConfig(), [MARINES], [MARINES, OTHER])
    assert str(caught.value) == (
        f"HiSSD contrasts training tasks with each other, got one, {MARINES.task!r}; "
        "name two or more in dataset.train_tasks"
    )
    assert [*check_hissd(HiSSDConfig(), [MARINES, OTHER], [MARINES, OTHER])] == ["kernel"]

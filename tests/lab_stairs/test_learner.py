"""STAIRS-Former as a learner: its losses, targets, updates and state."""

import math

import pytest
import torch
from lab_marl.networks.rows import filled_rows
from lab_marl.training.targets import RoundClock, TargetClock
from lab_stairs.config import MixerConfig, NetworkConfig, StairsConfig
from lab_stairs.learner import StairsLearner
from labrun import DivergedError
from stairs_cases import grid_layout, marine_layout, random_batch

SMALL = {
    "network": NetworkConfig(width=8, ffn_factor=2),
    "mixer": MixerConfig(entity_width=8, attention_width=4, hyper_width=8, mixing_width=4),
}


def learner(layout, **settings) -> StairsLearner:
    torch.manual_seed(0)
    config = StairsConfig(**{**SMALL, **settings})
    return StairsLearner([layout], config, device=torch.device("cpu"))


def with_changes(batch, **changes):
    return type(batch)(**{**vars(batch), **changes})


@pytest.mark.parametrize("layout", [grid_layout(3), marine_layout(3, 4)], ids=["grid", "marines"])
def test_updates_on_one_batch_lower_its_cloning_loss(layout):
    batch = random_batch(layout, [6, 3, 4])
    made = learner(layout, learning_rate=1e-2)
    before = made.losses(batch, None)
    for _ in range(30):
        made.update(batch)
    after = made.losses(batch, None)
    assert after.cloning < 0.8 * before.cloning


def test_total_is_the_weighted_sum_of_td_and_cloning():
    batch = random_batch(grid_layout(), [3, 2])
    losses = learner(batch.layout, td_weight=2.0, bc_weight=0.5).losses(batch, None)
    torch.testing.assert_close(losses.total, 2 * losses.td + 0.5 * losses.cloning)


def test_td_alone_of_an_untrained_learner_is_its_definition():
    """Two transitions of one episode, worked out from the learner's own Q_tot values."""
    batch = random_batch(grid_layout(), [2])
    made = learner(batch.layout, gamma=0.5)
    losses = made.losses(batch, None)
    with torch.no_grad():
        following = made._next_values(batch, _features(made, batch), filled_rows(batch))
        total = _chosen_total(made, batch)
    r = batch.reward[:, 0]
    first = (total[0] - (r[0] + 0.5 * following[1, 0])) ** 2
    second = (total[1] - r[1]) ** 2
    torch.testing.assert_close(losses.td, (first + second) / 2)


def _features(made, batch):
    from lab_marl.training.entity_features import entity_features, last_actions

    packed = batch.packed()
    return entity_features(batch.layout, batch.obs[packed], last_actions(batch)[packed], id_bits=4)


def _chosen_total(made, batch):
    from lab_stairs.blocks import stacked
    from lab_stairs.network import q_values, unroll

    weights = stacked([made.network])
    read = unroll(weights, made.config.network, batch.layout, _features(made, batch), batch.counts)
    q = q_values(weights, batch.layout, read)[0]
    packed = batch.packed()
    taken = q.gather(-1, batch.actions[packed][..., None]).squeeze(-1)
    return made.mixer(batch.layout, taken, batch.state[packed])


def test_targets_come_from_the_target_networks():
    batch = random_batch(grid_layout(), [4, 2])
    made = learner(batch.layout)
    before = made.losses(batch, None).target
    for parameter in made.target_mixer.parameters():
        parameter.data += 0.3
    moved = made.losses(batch, None).target
    for parameter in made.target_network.parameters():
        parameter.data += 0.3
    assert before != moved
    assert moved != made.losses(batch, None).target


def test_targets_are_copied_every_so_many_updates():
    batch = random_batch(grid_layout(), [3, 2])
    made = learner(batch.layout, target_update_every=3)
    equal = []
    for _ in range(6):
        made.update(batch)
        pairs = zip(made.network.parameters(), made.target_network.parameters(), strict=True)
        mixers = zip(made.mixer.parameters(), made.target_mixer.parameters(), strict=True)
        equal.append(all(torch.equal(a, b) for a, b in [*pairs, *mixers]))
    assert equal == [False, False, True, False, False, True]


def test_clock_goes_on_where_it_was():
    clock = TargetClock(3)
    assert [clock.tick() for _ in range(2)] == [False, False]
    other = TargetClock(3)
    other.load_state_dict(clock.state_dict())
    assert other.tick()


@pytest.mark.parametrize(
    ("num_tasks", "copied"), [(1, [81, 161]), (2, [81, 161]), (3, [82, 163, 244])]
)
def test_the_published_clock_copies_after_the_first_step_of_a_round(num_tasks, copied):
    clock = RoundClock(80, num_tasks=num_tasks)
    assert [step for step in range(1, copied[-1] + 1) if clock.tick()] == copied


def test_the_published_clock_goes_on_where_it_was():
    whole, cut = RoundClock(4, num_tasks=3), RoundClock(4, num_tasks=3)
    expected = [whole.tick() for _ in range(20)]
    first = [cut.tick() for _ in range(8)]
    again = RoundClock(4, num_tasks=3)
    again.load_state_dict(cut.state_dict())
    assert first + [again.tick() for _ in range(12)] == expected


def test_a_learner_copies_its_targets_by_rounds_where_it_is_asked_to():
    batch = random_batch(grid_layout(), [3, 2])
    config = {"target_update_every": 2, "target_copies": "rounds"}
    made = learner(batch.layout, **config)
    equal = []
    for _ in range(5):
        made.update(batch)
        pairs = zip(made.network.parameters(), made.target_network.parameters(), strict=True)
        equal.append(all(torch.equal(a, b) for a, b in pairs))
    assert equal == [False, False, True, False, True]


def test_published_cloning_sums_over_padding_and_divides_by_valid_steps():
    """An untrained head of zeros gives log 5 for every row and agent, padding or not."""
    batch = random_batch(grid_layout(), [3, 1])
    for mask, rows in (("published", 4 * 2), ("filled", 4)):
        made = learner(batch.layout, bc_mask=mask)
        torch.nn.init.zeros_(made.network.head.weight)
        torch.nn.init.zeros_(made.network.head.bias)
        cloning = made.losses(batch, None).cloning.item()
        assert cloning == pytest.approx(math.log(5) * rows / 4, rel=1e-5)


def test_both_cloning_masks_have_the_same_td_loss():
    batch = random_batch(marine_layout(), [5, 2])
    td = [learner(batch.layout, bc_mask=m).losses(batch, None).td for m in ("published", "filled")]
    torch.testing.assert_close(td[0], td[1])


def test_q_value_cloning_rewards_the_value_of_the_datasets_action():
    batch = random_batch(grid_layout(), [3])
    losses = learner(batch.layout, bc_form="q_value", bc_mask="filled").losses(batch, None)
    torch.testing.assert_close(losses.cloning, -losses.q_taken)


def test_dropout_is_drawn_for_every_row_of_the_pass_with_gradient():
    batch = random_batch(grid_layout(), [3, 1])
    assert learner(batch.layout, token_dropout=0.0).draw_kept(batch) is None
    assert learner(batch.layout).draw_kept(batch).shape == (8, 2, 4)
    assert learner(batch.layout, bc_mask="filled").draw_kept(batch).shape == (6, 2, 4)


def test_dropout_reaches_the_losses_but_not_the_targets():
    batch = random_batch(grid_layout(3), [4, 2])
    made = learner(batch.layout, token_dropout=0.5)
    clear, dropped = made.losses(batch, None), made.losses(batch, made.draw_kept(batch))
    assert clear.cloning != dropped.cloning
    assert clear.q_taken != dropped.q_taken
    torch.testing.assert_close(clear.target, dropped.target)


def test_reduced_precision_touches_the_targets_alone():
    batch = random_batch(grid_layout(), [4, 2])
    exact, near = learner(batch.layout), learner(batch.layout, no_grad_dtype="bfloat16")
    a, b = exact.losses(batch, None), near.losses(batch, None)
    torch.testing.assert_close(a.cloning, b.cloning, rtol=0, atol=0)
    assert a.target != b.target
    assert abs(a.target - b.target) < 0.05


def test_gradient_is_clipped_and_its_norm_before_that_reported():
    batch = random_batch(grid_layout(), [3])
    made = learner(batch.layout, max_grad_norm=1e-3, token_dropout=0.0)
    metrics = made.update(batch)
    total = math.sqrt(sum(p.grad.square().sum().item() for p in made.parameters))
    assert total == pytest.approx(1e-3, rel=1e-3)
    assert metrics["grad_norm"] > 1e-2
    assert metrics["loss"] == pytest.approx(metrics["td_loss"] + metrics["bc_loss"], rel=1e-5)


def test_a_loss_that_is_not_finite_ends_the_run_before_the_weights_change():
    batch = random_batch(grid_layout(), [3])
    made = learner(batch.layout)
    before = made.network.head.weight.clone()
    reward = torch.full_like(batch.reward, float("inf"))
    with pytest.raises(DivergedError, match="test-grid-2: loss inf"):
        made.update(with_changes(batch, reward=reward))
    torch.testing.assert_close(made.network.head.weight, before)


def test_training_goes_on_exactly_from_a_saved_state(tmp_path):
    layout = marine_layout()
    batches = [random_batch(layout, [4, 2], seed=s) for s in range(5)]
    whole, cut = learner(layout, target_update_every=2), learner(layout, target_update_every=2)
    for step, batch in enumerate(batches):
        torch.manual_seed(step)
        whole.update(batch)
    for step, batch in enumerate(batches[:3]):
        torch.manual_seed(step)
        cut.update(batch)
    torch.save(cut.state_dict(), tmp_path / "state.pt")
    again = learner(layout, target_update_every=2)
    again.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    for step, batch in enumerate(batches[3:], start=3):
        torch.manual_seed(step)
        again.update(batch)
    for name, value in whole.network.state_dict().items():
        torch.testing.assert_close(again.network.state_dict()[name], value, rtol=0, atol=0)
    for name, value in whole.target_mixer.state_dict().items():
        torch.testing.assert_close(again.target_mixer.state_dict()[name], value, rtol=0, atol=0)


def test_an_episode_cut_off_bootstraps_from_its_last_frame():
    layout = grid_layout()
    ended, cut = random_batch(layout, [2]), random_batch(layout, [2], cut=True)
    made = learner(layout, gamma=0.5, bc_mask="filled")
    with torch.no_grad():
        following = made._next_values(cut, _features(made, cut), filled_rows(cut))
    a, b = made.losses(ended, None), made.losses(cut, None)
    # mean over the two transitions of what is bootstrapped differs by gamma Q'_tot(last) / 2
    torch.testing.assert_close(b.target - a.target, 0.5 * following[2, 0] / 2)
    torch.testing.assert_close(a.cloning, b.cloning)


def test_masks_of_the_frame_after_the_end_change_nothing():
    layout = marine_layout(3, 4)
    batch = random_batch(layout, [4, 2])
    avail = batch.avail_actions.clone()
    avail[4, 0], avail[2, 1] = False, False
    blocked = with_changes(batch, avail_actions=avail)
    for dtype in ("float32", "bfloat16"):
        made = learner(layout, no_grad_dtype=dtype)
        a, b = made.losses(batch, None), made.losses(blocked, None)
        torch.testing.assert_close(b.total, a.total, rtol=0, atol=0)
        torch.testing.assert_close(b.target, a.target, rtol=0, atol=0)


def test_one_learner_serves_tasks_of_different_sizes():
    made = learner(marine_layout(3, 3))
    for allies, enemies in ((3, 3), (5, 6), (2, 1)):
        metrics = made.update(random_batch(marine_layout(allies, enemies), [3, 2]))
        assert math.isfinite(metrics["loss"])

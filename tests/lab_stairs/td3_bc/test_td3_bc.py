"""TD3+BC: its equations, its rows, actor and critic, updates, state and policy."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from lab_marl.environments.interface import Frame
from lab_marl.episodes.batches import Batch, make_batch
from lab_marl.episodes.layouts import EntityBlock, Layout
from lab_marl.training.entity_features import entity_features
from lab_stairs.blocks import stacked
from lab_stairs.config import MixerConfig, NetworkConfig
from lab_stairs.methods import check_td3_bc, td3_bc
from lab_stairs.network import StairsNetwork, unroll
from lab_stairs.td3_bc.config import TD3BCConfig
from lab_stairs.td3_bc.learner import TD3BCLearner
from lab_stairs.td3_bc.network import (
    agent_values,
    draw_kept_joints,
    joint_actions,
    step_from,
    unroll_histories,
)
from lab_stairs.td3_bc.objectives import (
    actor_loss,
    cloning_error,
    move_towards,
    smoothed_actions,
    twin_loss,
    twin_targets,
    value_weight,
)
from lab_stairs.td3_bc.rows import draw_rows
from labrun import DivergedError, LabError
from stairs_cases import grid_layout, random_episodes

tensor = torch.tensor


def robot_layout(agents: int = 2, joints: int = 3) -> Layout:
    """A robot's joints in equal shares: trunk 2 | others' joints x 4 | own joints x 4."""
    total = agents * joints
    others = EntityBlock(2, total - joints, 4)
    own = EntityBlock(others.stop, joints, 4)
    return Layout(
        task=f"test-robot-{agents}x{joints}",
        family="mamujoco",
        num_agents=agents,
        num_enemies=joints,
        num_non_attack=0,
        attacks=False,
        obs_size=own.stop,
        state_size=3 * agents + 4 * total,
        own=((0, 2),),
        allies=others,
        enemies=own,
        state_allies=EntityBlock(0, agents, 3),
        state_enemies=EntityBlock(3 * agents, total, 4),
        episode_limit=12,
        continuous=True,
    )


def robot_batch(layout: Layout, transitions: list[int], *, seed: int = 0, cut=False) -> Batch:
    """Random episodes with random actions in [-1, 1], zeros after an episode's last one."""
    episodes = random_episodes(layout, transitions, seed=seed, cut=cut)
    rng = np.random.default_rng(seed + 1)
    shape = (*episodes.filled.shape, layout.num_agents, layout.num_actions)
    begins = np.arange(shape[1]) < np.array(transitions)[:, None]
    actions = rng.uniform(-1, 1, shape).astype(np.float32) * begins[..., None, None]
    episodes = dataclasses.replace(episodes, actions=actions)
    return make_batch(layout, episodes, np.arange(len(transitions)), device="cpu")


def small(**settings) -> TD3BCConfig:
    sizes = {
        "network": NetworkConfig(width=8, ffn_factor=2),
        "mixer": MixerConfig(entity_width=8, attention_width=4, hyper_width=8, mixing_width=4),
        "chunk": 0,
    }
    return TD3BCConfig(**{**sizes, **settings})


def learner(layout: Layout, **settings) -> TD3BCLearner:
    torch.manual_seed(0)
    return TD3BCLearner([layout], small(**settings), device=torch.device("cpu"))


def whole(batch: Batch):
    return draw_rows(batch, length=0)


def parameters_of(module) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in module.parameters()]


def moved(before: list[torch.Tensor], module) -> bool:
    pairs = zip(before, module.parameters(), strict=True)
    return not all(torch.equal(a, b) for a, b in pairs)


def test_smoothing_cuts_off_the_noise_first_and_the_action_afterwards():
    actions = tensor([0.9, -0.2, 0.0], requires_grad=True)
    # noise .7 -> .5 gives 1.4 -> 1; -.1 stays and gives -.3; -.9 -> -.5.
    made = smoothed_actions(actions, tensor([0.7, -0.1, -0.9]), clip=0.5)
    torch.testing.assert_close(made, tensor([1.0, -0.3, -0.5]))
    assert not made.requires_grad


def test_twin_target_takes_the_smaller_value_unless_terminated():
    following = tensor([[10.0, 5.0, -2.0], [4.0, 7.0, -6.0]], requires_grad=True)
    made = twin_targets(tensor([1.0, 2.0, 0.0]), tensor([0.0, 1.0, 0.0]), following, gamma=0.5)
    # 1 + .5 * 4; terminated: 2; .5 * -6.
    assert made.tolist() == [3.0, 2.0, -3.0]
    assert not made.requires_grad


def test_twin_loss_is_the_sum_over_critics_of_the_mean_over_transitions():
    # critic 1: (1, 1) -> mean 1; critic 2: (9, 16) -> mean 12.5.
    made = twin_loss(tensor([[1.0, 2.0], [3.0, 5.0]]), tensor([0.0, 1.0]))
    assert made.item() == 13.5


def test_value_weight_is_alpha_over_the_mean_size_of_the_values():
    values = tensor([-1.0, 3.0], requires_grad=True)
    made = value_weight(values, alpha=2.5)
    assert made.item() == 1.25
    assert not made.requires_grad


def test_cloning_error_is_the_mean_over_transitions_agents_and_joints():
    actions = tensor([[[1.0, 0.0], [0.5, 0.5]]])
    dataset = tensor([[[0.0, 0.0], [1.0, -0.5]]])
    # 1 + 0 + .25 + 1 over four numbers
    assert cloning_error(actions, dataset).item() == pytest.approx(0.5625)


def test_actor_loss_is_cloning_minus_the_weighted_mean_value():
    # .5 - 2 * (1 + 2) / 2
    assert actor_loss(tensor([1.0, 2.0]), tensor(2.0), tensor(0.5)).item() == -2.5


def test_targets_move_by_a_share_of_the_way():
    target = tensor([1.0, -1.0])
    move_towards(target, tensor([2.0, 1.0]), tau=0.25)
    assert target.tolist() == [1.25, -0.5]


def timed_batch(transitions: list[int]) -> Batch:
    """Reward and observations of frame t of the episode that was given as number e: 100 e + t."""
    layout = robot_layout()
    batch = robot_batch(layout, transitions)
    order = sorted(range(len(transitions)), key=lambda e: -transitions[e])
    stamp = 100 * tensor(order) + torch.arange(len(batch.reward))[:, None]
    obs = stamp[..., None, None].expand_as(batch.obs).float()
    actions = stamp[..., None, None].expand_as(batch.actions).float()
    changed = {"obs": obs, "actions": actions, "reward": stamp.float()}
    return dataclasses.replace(batch, **changed)


def test_whole_episodes_are_packed_without_their_padding():
    rows = whole(timed_batch([2, 3, 1]))
    assert rows.counts == (3, 3, 2, 1)
    # time by time, the longest episode (number 1) first, then numbers 0 and 2
    assert rows.obs[:, 0, 0].tolist() == [100, 0, 200, 101, 1, 201, 102, 2, 103]
    assert rows.reward.tolist() == [100, 0, 200, 101, 1, 102]
    assert rows.actions[:, 0, 0].tolist() == rows.reward.tolist()
    assert rows.at(rows.obs)[:, 0, 0].tolist() == rows.reward.tolist()
    assert rows.after(rows.obs)[:, 0, 0].tolist() == [101, 1, 201, 102, 2, 103]
    assert rows.last[:, 0, 0].tolist() == [0, 0, 0, 100, 0, 200, 101, 1, 102]
    assert rows.terminated.tolist() == [0, 0, 1, 0, 1, 1]


def test_a_chunk_is_a_run_of_transitions_from_a_random_one_on():
    batch = timed_batch([9, 2, 9])
    starts = set()
    for seed in range(60):
        torch.manual_seed(seed)
        rows = draw_rows(batch, length=3)
        assert rows.counts == (3, 3, 3, 2)
        first = rows.obs[:3, 0, 0].tolist()
        assert [s // 100 for s in first] == [0, 2, 1]
        assert first[2] == 100  # the short one, whole
        assert rows.reward.reshape(-1)[3:6].tolist() == [s + 1 for s in first]
        for frame, last in zip(rows.obs[:2, 0, 0], rows.last[:2, 0, 0], strict=True):
            begins = frame.item() % 100 == 0
            assert last.item() == (0 if begins else frame.item() - 1)
        ends = [first[0] % 100 == 6, first[1] % 100 == 6]
        assert rows.terminated[-2:].tolist() == ends
        starts |= {(e, s % 100) for e, s in enumerate(first[:2])}
    assert starts == {(e, s) for e in range(2) for s in range(7)}


def made_network(layout: Layout, **settings) -> tuple[StairsNetwork, NetworkConfig]:
    torch.manual_seed(3)
    config = NetworkConfig(width=8, ffn_factor=2, **settings)
    return StairsNetwork(layout, config, outputs=1), config


def test_actions_are_read_at_joints_and_values_at_the_own_token():
    net, _ = made_network(robot_layout())
    with torch.no_grad():
        net.head.weight.zero_()
        net.head.weight[0, 0] = 2.0
        net.head.bias.fill_(1.0)
    read = torch.zeros(1, 1, 1, 3, 8)
    read[..., 0] = tensor([5.0, 0.5, -0.5])
    weights = stacked([net])
    # own token: 2 * 5 + 1; joints: tanh(2), tanh(0).
    assert agent_values(weights, read).tolist() == [[[11.0]]]
    torch.testing.assert_close(joint_actions(weights, read)[0, 0, 0], tensor([math.tanh(2), 0.0]))


def test_joints_in_another_order_have_their_actions_in_that_order():
    layout = robot_layout()
    net, config = made_network(layout)
    rows, order = whole(robot_batch(layout, [4, 3])), [2, 0, 1]
    start = layout.enemies.start
    joints = rows.obs[..., start:].unflatten(-1, (3, 4))[..., order, :].flatten(-2)
    swapped = torch.cat([rows.obs[..., :start], joints], -1)
    weights = stacked([net])

    def outputs(obs, last):
        features = entity_features(layout, obs, last, id_bits=4)
        read = unroll(weights, config, layout, features, rows.counts)
        return joint_actions(weights, read)[0], agent_values(weights, read)[0]

    actions, values = outputs(rows.obs, rows.last)
    again, same = outputs(swapped, rows.last[..., order])
    assert not torch.allclose(actions[..., order], actions, atol=1e-3)
    torch.testing.assert_close(again, actions[..., order])
    torch.testing.assert_close(same, values)


SHAPES = [{"high_step": 1}, {"high_step": 2}, {"high_step": 5}, {"temporal": False}]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_step_from_the_histories_values_another_action_at_one_time(shape):
    """As if the whole episode were read anew with the other action at that time alone."""
    layout = robot_layout()
    first, config = made_network(layout, **shape)
    weights = stacked([first, StairsNetwork(layout, config, outputs=1)])
    rows = whole(robot_batch(layout, [6, 4, 3]))
    counts, obs = rows.counts[1:], rows.at(rows.obs)

    def features(actions):
        return entity_features(layout, obs, actions, id_bits=4)

    _, memories = unroll_histories(weights, config, layout, features(rows.actions), counts)
    others = torch.rand_like(rows.actions)
    before = [memories[t].first(2 * count) for t, count in enumerate(counts)]
    made = step_from(weights, config, layout, features(others), before, first=0)
    for t, step in enumerate(torch.arange(len(obs)).split(counts)):
        mixed = rows.actions.clone()
        mixed[step] = others[step]
        read, _ = unroll_histories(weights, config, layout, features(mixed), counts)
        torch.testing.assert_close(made[:, step], read[:, step], msg=f"time {t}")


def test_histories_after_a_transition_are_those_before_the_next():
    layout = robot_layout()
    net, config = made_network(layout, high_step=2)
    weights = stacked([net])
    rows = whole(robot_batch(layout, [5, 5]))
    read, memories = unroll_histories(
        weights,
        config,
        layout,
        entity_features(layout, rows.at(rows.obs), rows.actions, id_bits=4),
        rows.counts[1:],
    )
    later = entity_features(layout, rows.at(rows.obs)[2:], rows.actions[2:], id_bits=4)
    made = step_from(weights, config, layout, later, memories[1:5], first=1)
    torch.testing.assert_close(made, read[:, 2:])


def test_token_dropout_spares_own_token_and_the_joints_that_are_moved():
    torch.manual_seed(0)
    layout = robot_layout(3, 2)
    keep = draw_kept_joints(layout, 500, probability=0.3, device=torch.device("cpu"))
    assert keep.shape == (500, 3, 1 + 2 + 4)
    assert keep[..., :3].all()
    assert keep[..., 3:].float().mean().item() == pytest.approx(0.7, abs=0.02)


def test_critics_learn_the_reward_where_nothing_counts_after_it():
    batch = robot_batch(robot_layout(), [5, 3])
    made = learner(batch.layout, gamma=0.0, learning_rate=1e-2)
    losses = [made.update(batch)["loss"] for _ in range(25)]
    assert losses[-1] < 0.3 * losses[0]


def test_critic_targets_of_one_transition_are_their_definition():
    """One transition that was cut off: target actor, noise, target critics from step to step."""
    layout = robot_layout()
    batch = robot_batch(layout, [1], cut=True)
    made = learner(layout, gamma=0.5, smoothing_clip=0.1)
    with torch.no_grad():
        for parameter in made.target.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    rows = whole(batch)
    noise = torch.full_like(rows.actions, 0.3)
    losses = made.critic_losses(rows, noise)
    config = made.config.network
    actor = stacked([made.target.actor])
    seen = entity_features(layout, batch.obs[:, 0], rows.last, id_bits=4)
    actions = joint_actions(actor, unroll(actor, config, layout, seen, (1, 1)))[0, 1]
    taken = torch.stack([batch.actions[0, 0], (actions + 0.1).clamp(-1, 1)])
    valued = entity_features(layout, batch.obs[:, 0], taken, id_bits=4)
    following = []
    for critic, mixer in zip(made.target.critics, made.target.mixers, strict=True):
        weights = stacked([critic])
        q = agent_values(weights, unroll(weights, config, layout, valued, (1, 1)))[0]
        following.append(mixer(layout, q[1:], batch.state[1]).item())
    expected = batch.reward[0, 0].item() + 0.5 * min(following)
    assert losses.targets.item() == pytest.approx(expected, rel=1e-4)
    each = (losses.totals[:, 0] - expected).square().sum().item()
    assert losses.total.item() == pytest.approx(each, rel=1e-4)


def test_noise_has_its_standard_deviation():
    rows = whole(robot_batch(robot_layout(), [40, 40]))
    torch.manual_seed(0)
    noise = learner(rows.layout, smoothing_noise=0.4).draw_noise(rows)
    assert noise.shape == rows.actions.shape
    assert noise.std().item() == pytest.approx(0.4, rel=0.1)


def test_critics_value_the_datasets_actions_each_with_its_own_mixer():
    layout = robot_layout()
    rows = whole(robot_batch(layout, [4, 2]))
    made = learner(layout)
    losses = made.critic_losses(rows, made.draw_noise(rows))
    features = entity_features(layout, rows.at(rows.obs), rows.actions, id_bits=4)
    for i, (critic, mixer) in enumerate(zip(made.online.critics, made.online.mixers, strict=True)):
        weights = stacked([critic])
        read = unroll(weights, made.config.network, layout, features, rows.counts[1:])
        total = mixer(layout, agent_values(weights, read)[0], rows.at(rows.state))
        torch.testing.assert_close(losses.totals[i], total.detach())


@pytest.mark.parametrize("part", ["actor", "critics", "mixers"])
def test_targets_come_from_the_target_networks(part):
    rows = whole(robot_batch(robot_layout(), [4, 2]))
    made = learner(rows.layout)
    noise = made.draw_noise(rows)
    before = made.critic_losses(rows, noise)
    with torch.no_grad():
        for parameter in getattr(made.target, part).parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    after = made.critic_losses(rows, noise)
    torch.testing.assert_close(after.totals, before.totals)
    assert not torch.allclose(after.targets, before.targets)


def test_an_episode_cut_off_bootstraps_from_its_last_frame():
    layout = robot_layout()
    made = learner(layout, gamma=0.5)
    ended, cut = (whole(robot_batch(layout, [3, 2], cut=flag)) for flag in (False, True))
    noise = made.draw_noise(cut)
    a, b = made.critic_losses(ended, noise), made.critic_losses(cut, noise)
    last = ended.terminated == 1
    assert last.sum() == 2
    torch.testing.assert_close(a.targets[~last], b.targets[~last])
    torch.testing.assert_close(a.targets[last], ended.reward[last])
    assert not torch.allclose(a.targets[last], b.targets[last], rtol=1e-3)


def test_actor_is_cloned_and_weighted_by_the_first_critic():
    """Total = error - alpha mean Q_1 / mean |Q_1| of its own actions after the dataset's."""
    layout = robot_layout()
    rows = whole(robot_batch(layout, [1, 1, 1]))
    made = learner(layout, alpha=1.5)
    histories = made.critic_losses(rows, made.draw_noise(rows)).histories
    losses = made.actor_losses(rows, histories, None)
    config, obs = made.config.network, rows.at(rows.obs)
    actor, critic = stacked([made.online.actor]), stacked([made.online.critics[0]])
    seen = entity_features(layout, obs, torch.zeros_like(rows.actions), id_bits=4)
    actions = joint_actions(actor, unroll(actor, config, layout, seen, (3,)))[0]
    valued = entity_features(layout, obs, actions, id_bits=4)
    q = agent_values(critic, unroll(critic, config, layout, valued, (3,)))[0]
    values = made.online.mixers[0](layout, q, rows.at(rows.state))
    error = (actions - rows.actions).square().sum() / (3 * 2 * 3)
    torch.testing.assert_close(losses.cloning, error.detach())
    torch.testing.assert_close(losses.weight, 1.5 / values.abs().sum().detach() * 3)
    torch.testing.assert_close(losses.total, error - losses.weight * values.sum() / 3)


def test_actor_is_valued_by_the_first_critic_after_the_datasets_actions():
    """Q_1 at each time of an episode read anew with the actor's action at that time alone."""
    layout = robot_layout()
    rows = whole(robot_batch(layout, [7]))
    made = learner(layout)
    histories = made.critic_losses(rows, made.draw_noise(rows)).histories
    losses = made.actor_losses(rows, histories, None)
    config, obs = made.config.network, rows.at(rows.obs)
    actor, critic = stacked([made.online.actor]), stacked([made.online.critics[0]])
    seen = entity_features(layout, obs, rows.at(rows.last), id_bits=4)
    actions = joint_actions(actor, unroll(actor, config, layout, seen, (1,) * 7))[0]
    values = []
    for t in range(7):
        taken = torch.cat([rows.actions[:t], actions[t : t + 1]])
        features = entity_features(layout, obs[: t + 1], taken, id_bits=4)
        q = agent_values(critic, unroll(critic, config, layout, features, (1,) * (t + 1)))[0, -1:]
        values.append(made.online.mixers[0](layout, q, rows.at(rows.state)[t : t + 1]))
    expected = torch.cat(values).mean()
    torch.testing.assert_close((losses.cloning - losses.total) / losses.weight, expected)
    for memory in histories:
        assert memory.high is not None
        assert not memory.low.requires_grad | memory.high.requires_grad


def test_values_push_the_actor_uphill_and_leave_the_critics_alone():
    layout = robot_layout()
    rows = whole(robot_batch(layout, [6, 4]))
    made = learner(layout, alpha=1e3, token_dropout=0.0)
    histories = made.critic_losses(rows, made.draw_noise(rows)).histories
    optimizer = torch.optim.SGD(made.actor_parameters, lr=1e-6)
    scores = []
    for _ in range(2):
        losses = made.actor_losses(rows, histories, None)
        scores.append(((losses.cloning - losses.total) / losses.weight).item())
        made._actor_gradient(rows, histories)
        for parameter in made.actor_parameters:
            assert parameter.grad is not None
            parameter.grad *= 1e3
        optimizer.step()
    assert scores[1] > scores[0]
    assert all(parameter.grad is None for parameter in made.critic_parameters)


def test_dropout_reaches_the_actor_alone():
    rows = whole(robot_batch(robot_layout(), [4, 2]))
    made = learner(rows.layout, token_dropout=0.5)
    assert learner(rows.layout, token_dropout=0.0).draw_kept(rows) is None
    histories = made.critic_losses(rows, made.draw_noise(rows)).histories
    clear = made.actor_losses(rows, histories, None)
    dropped = made.actor_losses(rows, histories, made.draw_kept(rows))
    assert clear.cloning != dropped.cloning


def test_critics_move_at_every_step_and_the_actor_at_every_second_one():
    batch = robot_batch(robot_layout(), [3, 2])
    made = learner(batch.layout)
    steps = []
    for _ in range(4):
        parts = made.online.actor, made.online.critics, made.online.mixers
        before = [parameters_of(part) for part in parts]
        metrics = made.update(batch)
        assert ("bc_loss" in metrics) == moved(before[0], made.online.actor)
        steps.append([moved(old, part) for old, part in zip(before, parts, strict=True)])
    assert steps == [[False, True, True], [True, True, True]] * 2


def test_target_networks_follow_by_tau_every_so_many_steps():
    batch = robot_batch(robot_layout(), [3, 2])
    made = learner(batch.layout, tau=0.25, target_update_every=3)
    before = parameters_of(made.target)
    made.update(batch)
    made.update(batch)
    assert not moved(before, made.target)
    made.update(batch)
    triples = zip(before, made.target.parameters(), made.online.parameters(), strict=True)
    for old, target, online in triples:
        torch.testing.assert_close(target, 0.75 * old + 0.25 * online.detach())
    assert moved(before, made.target)


def test_alpha_zero_is_cloning_alone_at_every_step():
    batch = robot_batch(robot_layout(), [6, 3])
    made = learner(batch.layout, alpha=0.0, learning_rate=1e-2, token_dropout=0.0)
    critics = parameters_of(made.online.critics)
    seen = [made.update(batch) for _ in range(30)]
    assert all(metrics["loss"] == metrics["bc_loss"] for metrics in seen)
    assert seen[-1]["loss"] < 0.5 * seen[0]["loss"]
    assert not moved(critics, made.online.critics)


def test_contents_of_padding_change_nothing():
    batch = robot_batch(robot_layout(), [5, 2])
    padding = batch.filled == 0
    changes = {}
    for name in ("obs", "state", "actions"):
        values = getattr(batch, name).clone()
        values[padding] = 7.0
        changes[name] = values
    results = []
    for part in (batch, dataclasses.replace(batch, **changes)):
        made = learner(batch.layout, policy_delay=1, chunk=3)
        torch.manual_seed(5)
        results.append(made.update(part))
    assert results[0] == results[1]


def test_gradients_are_clipped_and_their_norms_before_that_reported():
    batch = robot_batch(robot_layout(), [3])
    made = learner(batch.layout, max_grad_norm=1e-3, policy_delay=1)
    metrics = made.update(batch)
    pairs = ((made.critic_parameters, "grad_norm"), (made.actor_parameters, "actor_grad_norm"))
    for parameters, name in pairs:
        squares = [p.grad.square().sum().item() for p in parameters if p.grad is not None]
        assert math.sqrt(sum(squares)) == pytest.approx(1e-3, rel=1e-2)
        assert metrics[name] > 2e-3


def test_a_loss_that_is_not_finite_ends_the_run_before_the_weights_change():
    batch = robot_batch(robot_layout(), [3])
    made = learner(batch.layout, policy_delay=1)
    before = parameters_of(made.online)
    reward = torch.full_like(batch.reward, float("inf"))
    with pytest.raises(DivergedError, match="test-robot-2x3: loss inf"):
        made.update(dataclasses.replace(batch, reward=reward))
    assert not moved(before, made.online)


def test_training_goes_on_exactly_from_a_saved_state(tmp_path):
    layout = robot_layout()
    batches = [robot_batch(layout, [7, 4], seed=seed) for seed in range(6)]

    def train(made: TD3BCLearner, steps: range) -> TD3BCLearner:
        for step in steps:
            torch.manual_seed(step)
            made.update(batches[step])
        return made

    settings = {"chunk": 3, "target_update_every": 4, "learning_rate": 1e-2}
    uncut = train(learner(layout, **settings), range(6))
    cut = train(learner(layout, **settings), range(3))
    torch.save(cut.state_dict(), tmp_path / "state.pt")
    again = learner(layout, **settings)
    again.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    train(again, range(3, 6))
    for part in ("online", "target"):
        assert not moved(parameters_of(getattr(uncut, part)), getattr(again, part))


def test_one_learner_serves_tasks_of_different_sizes():
    made = learner(robot_layout(2, 3), chunk=2)
    for agents, joints in ((2, 3), (3, 2), (4, 2)):
        metrics = made.update(robot_batch(robot_layout(agents, joints), [3, 2]))
        assert math.isfinite(metrics["loss"])


def frame_at(batch: Batch, t: int) -> Frame:
    return Frame(batch.obs[t].numpy(), batch.state[t].numpy(), batch.avail_actions[t].numpy())


def played(made: TD3BCLearner, batch: Batch, steps: int) -> np.ndarray:
    copies = batch.obs.shape[1]
    act, live = made.policy().start(batch.layout, copies), np.ones(copies, bool)
    return np.stack([act(frame_at(batch, t), live) for t in range(steps)])


def test_policy_gives_the_actions_of_training_along_its_own_actions():
    layout = robot_layout()
    batch = robot_batch(layout, [6, 6])
    made = learner(layout)
    state = torch.get_rng_state()
    chosen = played(made, batch, 7)
    assert torch.equal(torch.get_rng_state(), state)
    assert (chosen.dtype, chosen.shape) == (np.float32, (7, 2, 2, 3))
    assert np.abs(chosen).max() <= 1
    own = whole(dataclasses.replace(batch, actions=torch.from_numpy(chosen)))
    weights = stacked([made.online.actor])
    seen = entity_features(layout, own.obs, own.last, id_bits=4)
    read = unroll(weights, made.config.network, layout, seen, own.counts)
    expected = joint_actions(weights, read)[0].detach().unflatten(0, (7, 2))
    torch.testing.assert_close(torch.from_numpy(chosen), expected)


def test_each_start_begins_without_memory():
    batch = robot_batch(robot_layout(), [4])
    made = learner(batch.layout)
    np.testing.assert_array_equal(played(made, batch, 4), played(made, batch, 4))


def test_an_episode_may_be_watched():
    batch = robot_batch(robot_layout(), [3])
    maps: list[list[torch.Tensor]] = []
    episode = learner(batch.layout).policy().episode(batch.layout, 1, watch=maps)
    for t in range(3):
        episode.act(frame_at(batch, t), np.ones(1, bool))
    # 3 other joints, own token, 3 joints, 2 histories; the last block: what is read
    assert [m.shape[-2:] for m in maps[2]] == [(9, 9), (9, 9), (5, 9)]


def test_discrete_tasks_are_refused_by_name():
    check_td3_bc(TD3BCConfig(), [], [robot_layout()])
    with pytest.raises(LabError, match=r"method=td3_bc is for continuous.*'test-grid-2'"):
        check_td3_bc(TD3BCConfig(), [], [robot_layout(), grid_layout()])


def test_more_agents_than_the_code_holds_are_refused():
    config = TD3BCConfig(network=NetworkConfig(id_bits=2))
    with pytest.raises(LabError, match="4 agents, id_bits=2"):
        check_td3_bc(config, [], [robot_layout(4, 2)])


def test_without_a_critic_its_settings_change_no_weight():
    layout = robot_layout()
    others = {
        "gamma": 0.5,
        "policy_delay": 3,
        "target_update_every": 1,
        "tau": 0.7,
        "smoothing_noise": 1.0,
        "smoothing_clip": 0.01,
    }
    assert td3_bc.unused(small(alpha=0)).keys() == others.keys()
    assert td3_bc.unused(small()) == {}
    actors = []
    for settings in ({}, others):
        made = learner(layout, alpha=0, **settings)
        for _ in range(3):
            made.update(robot_batch(layout, [5, 3]))
        actors.append(parameters_of(made.online.actor))
    assert all(torch.equal(a, b) for a, b in zip(*actors, strict=True))

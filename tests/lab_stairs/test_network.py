"""The agents' network: recursion, histories, token dropout, the Q head and packing."""

import pytest
import torch
from lab_marl.training.entity_features import EntityFeatures, entity_features, last_actions
from lab_stairs.blocks import Dropped, block, stacked
from lab_stairs.config import NetworkConfig
from lab_stairs.network import (
    StairsNetwork,
    advance,
    draw_kept_tokens,
    embed,
    q_values,
    start,
    unroll,
)
from stairs_cases import grid_layout, marine_layout, random_batch

SMALL = {"width": 8, "ffn_factor": 2}


def network(layout, **settings) -> StairsNetwork:
    torch.manual_seed(0)
    config = NetworkConfig(**{**SMALL, **settings})
    return StairsNetwork(layout, config, outputs=layout.num_non_attack)


def features(batch, rows=None) -> EntityFeatures:
    rows = torch.ones(batch.filled.shape, dtype=torch.bool) if rows is None else rows
    return entity_features(batch.layout, batch.obs[rows], last_actions(batch)[rows], id_bits=4)


def q_of(net, batch, *, keep=None, rows=None, counts=None):
    counts = counts or (batch.obs.shape[1],) * batch.obs.shape[0]
    weights = stacked([net])
    inputs = features(batch, rows)
    read = unroll(weights, net.config, batch.layout, inputs, counts, keep)
    return q_values(weights, batch.layout, read)[0]


def test_published_sizes_have_the_published_number_of_parameters():
    net = StairsNetwork(grid_layout(4), NetworkConfig(), outputs=5)
    assert sum(p.numel() for p in net.parameters()) == 196_357


def test_q_of_an_attack_is_the_mean_of_the_heads_outputs_at_the_enemys_token():
    layout = marine_layout(2, 2)
    net = network(layout)
    torch.nn.init.zeros_(net.head.weight)
    net.head.bias.data = torch.arange(6.0)
    net.head.weight.data[0, 0] = 6.0
    read = torch.zeros(1, 1, 2, 3, 8)
    read[0, 0, 0, 0, 0] = 1.0  # own token of agent 0: action 0 gets 6
    read[0, 0, 0, 2, 0] = 2.0  # second enemy: output 0 is 12, mean (12 + 1 + 2 + 3 + 4 + 5) / 6
    q = q_values(stacked([net]), layout, read)[0, 0]
    assert q[0].tolist() == [6, 1, 2, 3, 4, 5, 2.5, pytest.approx(4.5)]
    assert q[1].tolist() == [0, 1, 2, 3, 4, 5, 2.5, 2.5]


def test_without_attacks_q_is_read_at_the_own_token():
    layout = grid_layout()
    net = network(layout)
    q = q_values(stacked([net]), layout, torch.zeros(1, 3, 2, 1, 8))
    torch.testing.assert_close(q[0, 0, 0], net.head.bias)
    assert q.shape == (1, 3, 2, 5)


@pytest.mark.parametrize("layout", [grid_layout(3), marine_layout(3, 4)], ids=["grid", "marines"])
def test_an_episode_has_the_same_values_packed_and_padded(layout):
    batch = random_batch(layout, [7, 2, 5])
    net = network(layout)
    padded = q_of(net, batch).unflatten(0, batch.filled.shape)
    packed = q_of(net, batch, rows=batch.packed(), counts=batch.counts)
    torch.testing.assert_close(packed, padded[batch.packed()])


def test_swapping_two_enemies_swaps_the_values_of_attacking_them():
    layout = marine_layout(3, 3)
    batch = random_batch(layout, [1], seed=3)
    net = network(layout)
    before = q_of(net, batch)[0, 0]
    obs = batch.obs.clone()
    obs[..., 4:9], obs[..., 9:14] = batch.obs[..., 9:14], batch.obs[..., 4:9]
    after = q_of(net, type(batch)(**{**vars(batch), "obs": obs}))[0, 0]
    torch.testing.assert_close(after[6], before[7])
    torch.testing.assert_close(after[7], before[6])
    torch.testing.assert_close(after[:6], before[:6])


def test_own_token_and_the_attacked_enemy_are_never_dropped():
    layout = marine_layout(3, 3)
    actions = torch.tensor([[8, 1, 6]])
    torch.manual_seed(0)
    keep = draw_kept_tokens(layout, actions, probability=0.999999)
    # own, enemy 1 to 3, ally 1 and 2
    assert keep[0].int().tolist() == [
        [1, 0, 0, 1, 0, 0],
        [1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
    ]


def test_tokens_are_dropped_with_the_given_probability():
    layout = marine_layout(5, 6)
    torch.manual_seed(0)
    keep = draw_kept_tokens(layout, torch.ones(2000, 5, dtype=torch.int64), probability=0.1)
    assert keep[..., 1:].float().mean().item() == pytest.approx(0.9, abs=0.003)


def test_nothing_is_protected_but_the_own_token_where_there_are_no_attacks():
    layout = grid_layout(3)
    keep = draw_kept_tokens(layout, torch.full((1, 3), 4), probability=0.999999)
    assert keep[0, 0].int().tolist() == [1, 0, 0, 0, 0, 0]


def test_a_dropped_enemy_changes_nothing_else_and_a_kept_one_does():
    layout = marine_layout(3, 3)
    batch = random_batch(layout, [2])
    net = network(layout)
    keep = torch.ones(3, 3, 6, dtype=torch.bool)
    keep[..., 2] = False  # the second enemy
    changed = {}
    for enemy in (0, 1):
        obs = batch.obs.clone()
        obs[..., 4 + 5 * enemy : 9 + 5 * enemy] += 1
        other = type(batch)(**{**vars(batch), "obs": obs})
        gap = (q_of(net, other, keep=keep) - q_of(net, batch, keep=keep)).abs()
        changed[enemy] = [gap[..., a].max().item() for a in (0, 6, 8)]
    assert max(changed[1]) == 0
    assert min(changed[0]) > 1e-4


def test_a_dropped_token_attends_to_all_tokens_alike():
    layout = grid_layout()
    net = network(layout, heads=2)
    weights = stacked([net])
    x = torch.randn(1, 1, 6, 8)
    kept = torch.ones(1, 6, dtype=torch.bool)
    kept[0, 1] = False
    maps: list[torch.Tensor] = []
    block(weights, "low", x, Dropped.of(kept), heads=2, histories=2, maps=maps)
    torch.testing.assert_close(maps[0][0, 0, :, 1], torch.full((2, 6), 1 / 6))
    assert maps[0][0, 0, 0, 0, 1].item() == 0


def by_hand(net):
    """Functions L and H of the network."""
    weights = stacked([net])

    def apply(name):
        return lambda y: block(weights, name, y, None, heads=net.config.heads, histories=2)

    return apply("low"), apply("high")


def first_step(net, batch):
    """What the network reads at the first time step, and the tokens it began from."""
    weights = stacked([net])
    layout = batch.layout
    tokens = embed(weights, layout, features(batch))[:, : layout.num_agents]
    memory = start(weights, layout.num_agents, net.config)
    read, after = advance(weights, net.config, layout, tokens, memory, 0)
    return weights, tokens, read, after


@pytest.mark.parametrize("schedule", ["published", "hrm"])
def test_recursion_applies_the_blocks_in_the_order_of_its_schedule(schedule):
    batch = random_batch(grid_layout(), [1])
    net = network(batch.layout, schedule=schedule)
    weights, tokens, read, after = first_step(net, batch)
    zero = torch.zeros(1, 2, 8)
    high0 = net.gru(zero[0], zero[0])[None]
    x = torch.cat([tokens, zero[:, :, None], high0[:, :, None]], 2)
    low, high = by_hand(net)
    z = low(x)
    if schedule == "published":
        out = high(low(z + x))
    else:
        h = high(z)
        out = high(h + low(z + h + x))
    out = out @ weights["readout.weight"][:, None] + weights["readout.bias"]
    torch.testing.assert_close(read[:, :, 0], out[:, :, 3])  # own token: 2 landmarks, ally, own
    torch.testing.assert_close(after.low, out[:, :, 4])
    torch.testing.assert_close(after.high, high0)


def test_more_cycles_apply_the_blocks_more_often():
    batch = random_batch(grid_layout(), [1])
    net = network(batch.layout, h_cycles=2, l_cycles=2)
    weights, tokens, read, _ = first_step(net, batch)
    zero = torch.zeros(1, 2, 8)
    high0 = net.gru(zero[0], zero[0])[None]
    x = torch.cat([tokens, zero[:, :, None], high0[:, :, None]], 2)
    low, high = by_hand(net)
    z = low(low(x) + x)  # steps 1 and 2; H follows the second (2 mod h_cycles = 0)
    h = high(z)
    z = low(z + h + x)  # step 3 is the last without gradient
    out = high(h + low(z + h + x))
    out = out @ weights["readout.weight"][:, None] + weights["readout.bias"]
    torch.testing.assert_close(read[:, :, 0], out[:, :, 3])


def gradient_of_own(net, batch) -> torch.Tensor:
    net.zero_grad()
    first_step(net, batch)[2].sum().backward()
    return net.own.weight.grad.clone()


def test_one_step_gradient_passes_through_the_last_step_alone():
    batch = random_batch(grid_layout(), [1])
    one, full = (network(batch.layout, gradient=g) for g in ("one_step", "full"))
    torch.testing.assert_close(first_step(one, batch)[2], first_step(full, batch)[2])
    _, tokens, _, _ = first_step(one, batch)
    zero = torch.zeros(1, 2, 8)
    high0 = one.gru(zero[0], zero[0])[None]
    x = torch.cat([tokens, zero[:, :, None], high0[:, :, None]], 2)
    low, high = by_hand(one)
    one.zero_grad()
    out = high(low(low(x).detach() + x))
    (out @ stacked([one])["readout.weight"][:, None])[:, :, 3].sum().backward()
    torch.testing.assert_close(gradient_of_own(one, batch), one.own.weight.grad)
    assert not torch.allclose(gradient_of_own(one, batch), gradient_of_own(full, batch))


def test_high_history_moves_every_few_steps_only():
    batch = random_batch(grid_layout(), [7])
    net = network(batch.layout, high_step=3)
    weights = stacked([net])
    tokens = embed(weights, batch.layout, features(batch)).split(2, 1)
    memory = start(weights, 2, net.config)
    highs = []
    for time in range(7):
        _, memory = advance(weights, net.config, batch.layout, tokens[time], memory, time)
        highs.append(memory.high)
    moved = [
        not torch.equal(a, b) for a, b in zip([torch.zeros(1, 2, 8), *highs], highs, strict=False)
    ]
    assert moved == [True, False, False, True, False, False, True]


def test_high_history_is_the_gru_of_the_low_one():
    batch = random_batch(grid_layout(), [4])
    net = network(batch.layout, high_step=2)
    weights = stacked([net])
    tokens = embed(weights, batch.layout, features(batch)).split(2, 1)
    memory = start(weights, 2, net.config)
    seen = []
    for time in range(3):
        _, memory = advance(weights, net.config, batch.layout, tokens[time], memory, time)
        seen.append(memory)
    torch.testing.assert_close(seen[2].high[0], net.gru(seen[1].low[0], seen[0].high[0]))


def test_without_the_spatial_hierarchy_one_block_is_applied_once():
    batch = random_batch(grid_layout(), [1])
    net = network(batch.layout, spatial=False)
    assert not hasattr(net, "high")
    weights, tokens, read, _ = first_step(net, batch)
    zero = torch.zeros(1, 2, 8)
    high0 = net.gru(zero[0], zero[0])[None]
    x = torch.cat([tokens, zero[:, :, None], high0[:, :, None]], 2)
    out = block(weights, "low", x, None, heads=1, histories=2)
    out = out @ weights["readout.weight"][:, None] + weights["readout.bias"]
    torch.testing.assert_close(read[:, :, 0], out[:, :, 3])


def test_without_the_temporal_hierarchy_there_is_one_history():
    batch = random_batch(grid_layout(), [3])
    net = network(batch.layout, temporal=False)
    assert not hasattr(net, "gru")
    _, _, _, after = first_step(net, batch)
    assert after.high is None
    changed = network(batch.layout, temporal=False, high_step=1)
    torch.testing.assert_close(q_of(net, batch), q_of(changed, batch))


def test_histories_and_entities_have_feed_forward_nets_of_their_own():
    layout = grid_layout()
    net = network(layout)
    x = torch.randn(1, 1, 6, 8)
    before = block(stacked([net]), "low", x, None, heads=1, histories=2)
    net.low.hist_down.bias.data[0] += 1  # not a constant shift, which the layer norm would undo
    after = block(stacked([net]), "low", x, None, heads=1, histories=2)
    torch.testing.assert_close(before[:, :, :4], after[:, :, :4])
    assert (before[:, :, 4:] - after[:, :, 4:]).abs().min() > 0


def test_two_networks_side_by_side_give_what_each_gives_alone():
    layout = marine_layout()
    batch = random_batch(layout, [3, 2])
    one, two = network(layout), network(layout)
    for parameter in two.parameters():
        parameter.data += 0.1
    weights = stacked([one, two])
    inputs = features(batch, batch.packed())
    both = q_values(weights, layout, unroll(weights, one.config, layout, inputs, batch.counts))
    for net, q in zip((one, two), both, strict=True):
        alone = q_of(net, batch, rows=batch.packed(), counts=batch.counts)
        torch.testing.assert_close(q, alone, rtol=1e-4, atol=1e-5)


def test_reduced_precision_stays_near():
    layout = grid_layout()
    batch = random_batch(layout, [4])
    net = network(layout)
    weights = stacked([net], dtype=torch.bfloat16)
    near = q_values(weights, layout, unroll(weights, net.config, layout, features(batch), (1,) * 5))
    assert near.dtype == torch.float32
    assert (near[0] - q_of(net, batch)).abs().max().item() < 0.05

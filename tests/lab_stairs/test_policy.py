"""The greedy policy: masks, memory, and agreement with training's values."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from lab_marl.environments.interface import Frame
from lab_marl.training.entity_features import entity_features, last_actions
from lab_stairs.blocks import stacked
from lab_stairs.config import NetworkConfig
from lab_stairs.network import StairsNetwork, q_values, unroll
from lab_stairs.policy import Episode, NetworkPolicy
from labrun import LabError
from stairs_cases import grid_layout, marine_layout, random_batch


def make(layout):
    torch.manual_seed(1)
    config = NetworkConfig(width=8, ffn_factor=2, high_step=2)
    return StairsNetwork(layout, config, outputs=layout.num_non_attack), config


def frame_at(batch, t) -> Frame:
    return Frame(batch.obs[t].numpy(), batch.state[t].numpy(), batch.avail_actions[t].numpy())


def test_actions_are_the_best_available_ones_of_the_values_of_training():
    """Acting along an episode whose actions are the policy's own gives training's Q values."""
    layout = marine_layout()
    batch = random_batch(layout, [4, 4])
    net, config = make(layout)
    act = NetworkPolicy(net, config).start(layout, 2)
    live = np.ones(2, bool)
    chosen = np.stack([act(frame_at(batch, t), live) for t in range(4)])
    actions = torch.zeros_like(batch.actions)
    actions[:4] = torch.from_numpy(chosen)
    own = type(batch)(**{**vars(batch), "actions": actions})
    rows = torch.ones_like(batch.filled, dtype=torch.bool)
    inputs = entity_features(layout, own.obs[rows], last_actions(own)[rows], id_bits=4)
    weights = stacked([net])
    q = q_values(weights, layout, unroll(weights, config, layout, inputs, batch.counts))[0]
    q = q.masked_fill(~batch.avail_actions[rows], -9999999.0).detach()
    best = q.argmax(-1).unflatten(0, (5, 2))[:4]
    np.testing.assert_array_equal(chosen, best.numpy())


def test_values_on_the_way_are_those_of_training():
    """Over six steps, in which the high-level history moves at three."""
    layout = marine_layout()
    batch = random_batch(layout, [6, 6])
    net, config = make(layout)
    weights = stacked([net])
    episode, found, chosen = Episode(weights, config, layout, 2), [], []
    for t in range(6):
        frame = frame_at(batch, t)
        read = episode.read(frame)
        found.append(q_values(weights, layout, read)[0])
        actions, episode.last = episode.choose(read, frame)
        chosen.append(actions)
    actions = torch.zeros_like(batch.actions)
    actions[:6] = torch.stack(chosen)
    own = replace(batch, actions=actions)
    rows = torch.ones_like(batch.filled, dtype=torch.bool)
    inputs = entity_features(layout, own.obs[rows], last_actions(own)[rows], id_bits=4)
    q = q_values(weights, layout, unroll(weights, config, layout, inputs, batch.counts))[0]
    torch.testing.assert_close(torch.stack(found), q.unflatten(0, (7, 2))[:6])


def test_a_forbidden_action_is_never_taken():
    layout = marine_layout()
    net, config = make(layout)
    act = NetworkPolicy(net, config).start(layout, 50)
    rng = np.random.default_rng(0)
    avail = np.zeros((50, 3, layout.num_actions), bool)
    only = rng.integers(layout.num_actions, size=(50, 3))
    np.put_along_axis(avail, only[..., None], True, -1)
    obs = rng.normal(size=(50, 3, layout.obs_size)).astype(np.float32)
    state = np.zeros((50, layout.state_size), np.float32)
    np.testing.assert_array_equal(act(Frame(obs, state, avail), np.ones(50, bool)), only)


def test_each_start_begins_without_memory():
    layout = grid_layout()
    batch = random_batch(layout, [6])
    net, config = make(layout)
    policy = NetworkPolicy(net, config)

    def play() -> list[int]:
        act = policy.start(layout, 1)
        return [int(act(frame_at(batch, t), np.ones(1, bool))[0, 0]) for t in range(6)]

    assert play() == play()


def test_watching_collects_the_attention_of_every_block_and_changes_no_action():
    layout = grid_layout(3)
    batch = random_batch(layout, [3])
    net, config = make(layout)
    maps: list[list[torch.Tensor]] = []
    watched = Episode(stacked([net]), config, layout, 1, watch=maps).act
    plain = NetworkPolicy(net, config).start(layout, 1)
    for t in range(3):
        frame = frame_at(batch, t)
        np.testing.assert_array_equal(
            watched(frame, np.ones(1, bool)), plain(frame, np.ones(1, bool))
        )
    assert len(maps) == 3
    assert [m.shape[-2:] for m in maps[0]] == [(8, 8), (8, 8), (2, 8)]
    for attention in maps[0]:
        torch.testing.assert_close(attention.sum(-1), torch.ones(attention.shape[:-1]))


def test_more_agents_than_the_code_holds_are_refused():
    layout = grid_layout(4)
    net = StairsNetwork(layout, NetworkConfig(width=8, id_bits=2), outputs=5)
    with pytest.raises(LabError, match="'test-grid-4' has 4 agents"):
        NetworkPolicy(net, NetworkConfig(width=8, id_bits=2)).start(layout, 1)

"""Entities' features from flat vectors, on a hand-made SMAC-like and a grid-like layout."""

import pytest
import torch
from lab_marl.episodes.batches import Batch
from lab_marl.episodes.layouts import EntityBlock, Layout, check_one_network
from lab_marl.training.entity_features import (
    agent_codes,
    compact_actions,
    enemy_width,
    entity_features,
    last_actions,
    own_width,
    state_ally_width,
    state_entities,
)
from labrun import LabError

GRID = Layout(
    task="grid",
    family="grid",
    num_agents=2,
    num_enemies=2,
    num_non_attack=3,
    attacks=False,
    obs_size=6,
    state_size=4,
    own=((0, 1),),
    allies=EntityBlock(1, 1, 1),
    enemies=EntityBlock(2, 2, 2),
    state_allies=EntityBlock(0, 2, 1),
    state_enemies=EntityBlock(2, 2, 1),
    episode_limit=5,
)
# observation: 2 move features, 2 enemies x 2, 1 ally x 2, 1 own feature
FIGHT = Layout(
    task="fight",
    family="battle",
    num_agents=2,
    num_enemies=2,
    num_non_attack=3,
    attacks=True,
    obs_size=9,
    state_size=4 + 2 + 10,
    own=((0, 2), (8, 9)),
    allies=EntityBlock(6, 1, 2),
    enemies=EntityBlock(2, 2, 2),
    state_allies=EntityBlock(0, 2, 2),
    state_enemies=EntityBlock(4, 2, 1),
    state_actions=6,
    episode_limit=5,
)


def test_agents_are_coded_in_binary_from_one_with_the_highest_bit_first():
    assert agent_codes(5, 4).tolist() == [
        [0, 0, 0, 1],
        [0, 0, 1, 0],
        [0, 0, 1, 1],
        [0, 1, 0, 0],
        [0, 1, 0, 1],
    ]


def test_attacks_shrink_to_one_bit():
    last = torch.eye(5)
    assert compact_actions(FIGHT, last).tolist() == [
        [1, 0, 0, 0],
        [0, 1, 0, 0],
        [0, 0, 1, 0],
        [0, 0, 0, 1],
        [0, 0, 0, 1],
    ]


def test_without_attacks_the_action_stays_one_hot():
    assert compact_actions(GRID, torch.eye(3)).tolist() == torch.eye(3).tolist()


def test_fight_features_hold_own_parts_code_last_action_and_who_was_attacked():
    obs = torch.arange(9.0).expand(1, 2, -1)
    last = torch.zeros(1, 2, 5)
    last[0, 0, 4] = 1  # the first agent attacked the second enemy
    last[0, 1, 1] = 1
    made = entity_features(FIGHT, obs, last, id_bits=2)
    assert made.own[0].tolist() == [
        [0, 1, 8, 0, 1, 0, 0, 0, 1],
        [0, 1, 8, 1, 0, 0, 1, 0, 0],
    ]
    assert made.enemies[0, 0].tolist() == [[2, 3, 0], [4, 5, 1]]
    assert made.enemies[0, 1].tolist() == [[2, 3, 0], [4, 5, 0]]
    assert made.allies[0, 0].tolist() == [[6, 7]]
    assert made.own.shape[-1] == own_width(FIGHT, 2)
    assert made.enemies.shape[-1] == enemy_width(FIGHT)


def test_grid_features_have_no_attack_bits():
    made = entity_features(
        GRID, torch.arange(6.0).expand(1, 2, -1), torch.zeros(1, 2, 3), id_bits=2
    )
    assert made.own[0, 0].tolist() == [0, 0, 1, 0, 0, 0]
    assert made.enemies[0, 0].tolist() == [[2, 3], [4, 5]]
    assert made.allies[0, 0].tolist() == [[1]]
    assert made.own.shape[-1] == own_width(GRID, 2)


def test_continuous_features_hold_the_last_action_of_each_joint():
    joints = Layout(**{**vars(GRID), "continuous": True, "num_non_attack": 0})
    last = torch.tensor([[[0.5, -0.5], [0.0, 1.0]]])
    made = entity_features(joints, torch.arange(6.0).expand(1, 2, -1), last, id_bits=2)
    assert made.enemies[0, 0].tolist() == [[2, 3, 0.5], [4, 5, -0.5]]
    assert made.own[0, 1].tolist() == [0, 1, 0]


def test_allies_of_the_state_get_their_last_actions():
    state = torch.arange(16.0)[None].clone()
    state[0, 6:] = 0
    state[0, 6 + 4] = 1  # agent 0 attacked enemy 1
    state[0, 11 + 2] = 1  # agent 1 took action 2
    allies, enemies = state_entities(FIGHT, state)
    assert allies[0].tolist() == [[0, 1, 0, 0, 0, 1], [2, 3, 0, 0, 1, 0]]
    assert enemies[0].tolist() == [[4], [5]]
    assert allies.shape[-1] == state_ally_width(FIGHT)


def test_grid_state_is_allies_then_enemies():
    allies, enemies = state_entities(GRID, torch.arange(4.0)[None])
    assert allies[0].tolist() == [[0], [1]]
    assert enemies[0].tolist() == [[2], [3]]


def test_last_action_is_the_datasets_one_step_before_and_nothing_after_padding():
    actions = torch.tensor([2, 1, 0, 0])[:, None, None].expand(-1, 1, 2)
    filled = torch.tensor([1.0, 1.0, 0.0, 0.0])[:, None]
    batch = Batch(
        layout=GRID,
        obs=torch.zeros(4, 1, 2, 6),
        state=torch.zeros(4, 1, 4),
        actions=actions,
        avail_actions=torch.ones(4, 1, 2, 3, dtype=torch.bool),
        reward=torch.zeros(4, 1),
        terminated=torch.zeros(4, 1),
        filled=filled,
        counts=(1, 1),
    )
    made = last_actions(batch)[:, 0, 0]
    assert made.tolist() == [[0, 0, 0], [0, 0, 1], [0, 1, 0], [0, 0, 0]]


def test_tasks_with_other_features_are_refused_by_name():
    with pytest.raises(LabError, match="'grid' and 'fight' cannot share one network: own features"):
        check_one_network([GRID, FIGHT])
    check_one_network([GRID, Layout(**{**vars(GRID), "task": "more", "num_agents": 3})])

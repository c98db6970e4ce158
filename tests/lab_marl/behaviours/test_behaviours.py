"""Scripted play: single decisions worked out by hand, and win rates that tell the tiers apart."""

import numpy as np
import pytest
from lab_marl.behaviours import battle as battle_behaviour
from lab_marl.behaviours import grid as grid_behaviour
from lab_marl.behaviours.noise import noisy, uniform
from lab_marl.environments import battle, grid
from lab_marl.environments.interface import Frame
from lab_marl.environments.rollout import score
from labrun.errors import LabError

LIVE = np.ones(1, bool)
STOP, NORTH, EAST, WEST, ATTACK = 1, 2, 4, 5, 6


def win_rate(module, env, **options) -> float:
    rng = np.random.default_rng(1)
    return float(score(env, module.start(env, rng=rng, **options), seed=5).won.mean())


def battle_actions(places: list, health: list, **options) -> list[int]:
    """What the three agents of 3m do first; agents stand before enemies."""
    env = battle.make("battle-3m", 1)
    xy = np.array([places], np.float32)
    frame = env.place(xy[..., 0], xy[..., 1], np.array([health]))
    act = battle_behaviour.start(env, rng=np.random.default_rng(0), **options)
    return act(frame, LIVE)[0].tolist()


def test_uniform_draws_every_allowed_action_equally_often_and_no_other():
    avail = np.tile([True, False, True, True], (6000, 1, 1))
    counts = np.bincount(uniform(avail, np.random.default_rng(0)).ravel(), minlength=4)
    # 2000 of each; five standard deviations are 5 * sqrt(6000 * 2 / 9) = 183.
    assert counts[1] == 0
    assert np.abs(counts[[0, 2, 3]] - 2000).max() < 183


def test_noise_replaces_the_given_share_of_actions():
    avail = np.zeros((5000, 2, 4), bool)
    avail[..., [0, 3]] = True
    frame = Frame(np.zeros((5000, 2, 1)), np.zeros((5000, 1)), avail)
    act = noisy(lambda *_: np.zeros((5000, 2), int), epsilon=0.4, rng=np.random.default_rng(0))
    # Half of the drawn actions are action 3: 0.2 of 10,000, give or take 5 * 40.
    assert abs((act(frame, np.ones(5000, bool)) == 3).sum() - 2000) < 200


def test_focus_shoots_at_the_weakest_in_range_and_nearest_at_the_nearest():
    # Agent 1 may attack enemies 1 and 2; agent 2 only enemy 2; agent 3 has fallen.
    places = [(0, 0), (0, -4), (0, 5), (0, 2), (3, 0), (12, 0)]
    health = [45, 45, 0, 45, 39, 6]
    assert battle_actions(places, health, kind="focus") == [ATTACK + 1, ATTACK + 1, 0]
    assert battle_actions(places, health, kind="nearest") == [ATTACK, ATTACK + 1, 0]
    # Of equally weak ones the nearer.
    equal = [45, 45, 0, 45, 45, 6]
    assert battle_actions(places, equal, kind="focus") == [ATTACK, ATTACK + 1, 0]


def test_who_has_nobody_in_range_walks_to_the_nearest_living_enemy():
    # The enemy at (3, 0) has fallen. (9, 2) lies east of agents 1 and 3, (-9, 8) north of agent 2.
    places = [(0, 0), (-8, -2), (-0.5, -3), (3, 0), (9, 2), (-9, 8)]
    health = [45, 45, 45, 0, 45, 45]
    assert battle_actions(places, health) == [EAST, NORTH, EAST]
    # At the field's edge, where the best move is not allowed, the next best.
    places = [(13.5, 0), (0, 0), (0, 1), (3, 0), (13.9, 8), (3, 3)]
    assert battle_actions(places, [45, 0, 0, 0, 45, 0])[0] == NORTH


def test_planned_agents_take_the_landmarks_with_the_least_sum_of_steps():
    env = grid.make("cn-2", 1)
    # Steps to the landmarks: agent 1 needs 1 and 0, agent 2 needs 4 and 1. The nearest one to both
    # is the second. Least: agent 1 to the first (south), agent 2 to the second (east).
    frame = env.place(np.array([[[2, 2], [0, 0]]]), np.array([[[5, 3], [2, 3]]]))
    act = grid_behaviour.start(env, rng=np.random.default_rng(0))
    assert act(frame, LIVE)[0].tolist() == [2, 4]


def test_equal_plans_are_taken_by_chance():
    # Both agents are one step from both landmarks, one to the east and one to the south.
    env = grid.make("cn-2", 64)
    agents, landmarks = [[2, 2], [2, 2]], [[2, 5], [5, 2]]
    frame = env.place(np.array([agents] * 64), np.array([landmarks] * 64))
    act = grid_behaviour.start(env, rng=np.random.default_rng(0))
    joint = act(frame, np.ones(64, bool)).tolist()
    assert 16 < joint.count([4, 2]) < 48
    assert joint.count([4, 2]) + joint.count([2, 4]) == 64


def test_nearest_agents_leave_landmarks_out():
    env = grid.make("cn-4", 100)
    assert win_rate(grid_behaviour, env) == 1
    assert 0.4 < win_rate(grid_behaviour, env, kind="nearest") < 0.8
    assert win_rate(grid_behaviour, env, kind="settled") < 0.2


def test_a_settled_agent_stays_where_it_reaches_a_landmark():
    env = grid.make("cn-2", 1)
    # Agent 1 reaches the first landmark; agent 2 is two steps away from it, five from the second.
    frame = env.place(np.array([[[2, 0], [4, 0]]]), np.array([[[0, 0], [0, 5]]]))
    act = grid_behaviour.start(env, kind="settled", rng=np.random.default_rng(0))
    assert act(frame, LIVE)[0].tolist() == [0, 1]


def test_planned_play_wins_everything_and_noise_makes_it_worse():
    assert win_rate(grid_behaviour, grid.make("cn-2", 100)) == 1
    assert win_rate(grid_behaviour, grid.make("cn-8", 20)) == 1
    env = grid.make("cn-4", 200)
    assert 0.2 < win_rate(grid_behaviour, env, epsilon=0.9) < 0.6


@pytest.mark.parametrize("task", ["3m", "5m_vs_6m", "9m_vs_10m", "2s3z", "2s4z", "3s5z"])
def test_focus_fire_wins_most_battles_and_noise_costs_wins(task):
    env = battle.make(f"battle-{task}", 60)
    wins = [win_rate(battle_behaviour, env, epsilon=epsilon) for epsilon in (0, 0.2, 0.4)]
    assert 0.8 <= wins[0] <= 0.98
    assert wins[1] < wins[0] - 0.2
    assert wins[2] < wins[1] - 0.05


def test_the_knobs_of_difficulty_make_battles_easier_and_harder():
    def rate(**options: float) -> float:
        return win_rate(battle_behaviour, battle.make("battle-3m", 100, **options))

    assert rate(enemy_cooldown=1.0) < rate() < rate(enemy_cooldown=1.3)
    assert rate(reaction_s=0.0) < rate(reaction_s=0.8)


@pytest.mark.parametrize("module", [battle_behaviour, grid_behaviour])
def test_an_unknown_kind_is_refused(module):
    env = battle.make("battle-3m", 1) if module is battle_behaviour else grid.make("cn-2", 1)
    with pytest.raises(LabError, match=r"kind of .* behaviour 'nearst'; did you mean 'nearest'"):
        module.start(env, kind="nearst", rng=np.random.default_rng(0))

"""The battle environment against recorded frames of SMAC's 3m and cases worked out by hand."""

from pathlib import Path

import h5py
import numpy as np
import pytest
from lab_marl.environments import battle
from lab_marl.environments.battle_frame import Armies
from lab_marl.environments.battle_rules import attack_damage
from lab_marl.environments.units import MAPS, UNITS
from lab_marl.episodes.layouts import EntityBlock
from labrun.errors import LabError

PUBLISHED = Path(__file__).parents[4] / "shared" / "data" / "marl"

STOP, NORTH, SOUTH, EAST, WEST, ATTACK = 1, 2, 3, 4, 5, 6
HIT = 6 * 20 / 365
"""Reward of a marine's attack on 3m: 20 of 3 x 45 health + 3 x 10 for kills + 200 for the win."""
KILL, WIN = 10 * 20 / 365, 200 * 20 / 365
AWAY = [(13, 9), (13, -9)]
"""Places out of everybody's way, more than 10 cells from where the cases play."""
BACK = [(-13, 9), (-13, -9)]


def placed(
    task: str,
    places: list,
    *,
    health: list | None = None,
    reaction_s: float = 0.0,
    enemy_cooldown: float = 1.0,
):
    """One battle whose units stand at `places`, agents first."""
    env = battle.make(task, 1, reaction_s=reaction_s, enemy_cooldown=enemy_cooldown)
    xy = np.array([places], np.float32)
    return env, env.place(xy[..., 0], xy[..., 1], health and np.array([health]))


def duel(distance: float, *, health: float = 45, enemy_health: float = 45, **options):
    """Agent 1 at (0, 0) against enemy 1 to the east; their comrades have fallen."""
    places = [(0, 0), *BACK, (distance, 0), *AWAY]
    healths = [health, 0, 0, enemy_health, 0, 0]
    return placed("battle-3m", places, health=healths, **options)[0]


def step(env, *actions: int):
    return env.step(np.array([actions]))


def numbers(*tables: str) -> np.ndarray:
    """The numbers of each table, row after row; words beside them are remarks."""
    rows = [[word for word in table.split() if word[-1].isdigit()] for table in tables]
    return np.array(rows, np.float32)


def test_recorded_frames_of_3m_come_out_as_recorded():
    # Two frames of one recorded episode: all alive; and agent 1 left with two enemies.
    states = numbers(
        """
        0.866667 0.052311 -0.165588 -0.142177  agent 1: health, cooldown, x, y
        0.466667 0.456331 -0.187805 -0.088981
        1 0.412679 -0.178249 -0.027937
        0.866667 0.009957 -0.044521            enemy 1: health, x, y
        0.6 -0.00082 -0.022426
        1 -0.006138 0.004002
        """,
        """
        0.733333 0.09987 -0.165588 -0.142177
        0 0 0 0
        0 0 0 0
        0 0 0
        0.2 -0.00082 -0.022426
        0.466667 -0.006138 0.004002
        """,
    )
    last = np.array([[6, 6, 7], [7, 0, 8]])
    obs = numbers(
        """
        1 1 1 1                                 moves
        1 0.62496 0.54614 0.30382 0.86667       enemy 1: attackable, distance, x, y, health
        1 0.6337 0.51261 0.37256 0.6
        0 0.67298 0.49607 0.45478 1
        1 0.17935 -0.06912 0.1655 0.46667       agent 2: visible, distance, x, y, health
        1 0.35759 -0.03939 0.35541 1
        0.86667                                 own health
        """,
        """
        1 1 1 1
        0 0 0 0 0
        1 0.6337 0.51261 0.37256 0.2
        0 0.67298 0.49607 0.45478 0.46667
        0 0 0 0 0
        0 0 0 0 0
        0.73333
        """,
    )
    frame, _ = battle.make("battle-3m", 2).views.show(armies_of(states), last)
    np.testing.assert_allclose(frame.obs[:, 0], obs, atol=2e-5)
    assert not frame.obs[1, 1:].any()
    np.testing.assert_allclose(frame.state[:, :21], states, atol=1e-6)
    np.testing.assert_array_equal(frame.state[:, 21:].reshape(2, 3, 9), np.eye(9)[last])
    can = frame.avail_actions.astype(int)
    assert can[0].tolist() == [[0, *[1] * 7, 0], [0, *[1] * 8], [0, *[1] * 8]]
    assert can[1].tolist() == [[0, *[1] * 5, 0, 1, 0], [1, *[0] * 8], [1, *[0] * 8]]


def test_all_recorded_frames_of_3m_come_out_as_recorded():
    files = sorted((PUBLISHED / "3m" / "medium").glob("**/*.h5"))
    if not files:
        pytest.skip(f"the published data of 3m is not in {PUBLISHED}")
    with h5py.File(files[0]) as file:
        filled = np.asarray(file["filled"])[..., 0].astype(bool)
        names = ("obs", "state", "avail_actions")
        data = {name: np.asarray(file[name])[filled] for name in names}
    last = data["state"][:, 21:].reshape(-1, 3, 9).argmax(-1)
    views = battle.make("battle-3m", 1).views
    frame, _ = views.show(armies_of(data["state"]), last)
    np.testing.assert_allclose(frame.obs, data["obs"], atol=1e-6)
    np.testing.assert_array_equal(frame.avail_actions, data["avail_actions"])
    np.testing.assert_allclose(frame.state[:, :21], data["state"][:, :21], atol=1e-6)


def armies_of(states: np.ndarray) -> Armies:
    """The units that states of 3m describe; 28 cells, 45 points and 15/16 s are shown as 1."""
    agents, enemies = states[:, :12].reshape(-1, 3, 4), states[:, 12:21].reshape(-1, 3, 3)
    none = np.zeros((len(states), 3), np.float32)
    return Armies(
        x=28 * np.concatenate([agents[..., 2], enemies[..., 1]], axis=1),
        y=28 * np.concatenate([agents[..., 3], enemies[..., 2]], axis=1),
        health=45 * np.concatenate([agents[..., 0], enemies[..., 0]], axis=1),
        shield=np.concatenate([none, none], axis=1),
        cooldown=np.concatenate([agents[..., 1], none], axis=1) * np.float32(15 / 16),
    )


@pytest.mark.parametrize(
    ("task", "obs", "state", "actions"),
    [("3m", 30, 48, 9), ("5m_vs_6m", 55, 98, 12), ("2s3z", 80, 120, 11)],
)
def test_shapes_are_those_of_smac(task, obs, state, actions):
    made = battle.layout(f"battle-{task}")
    assert (made.obs_size, made.state_size, made.num_actions) == (obs, state, actions)
    frame = battle.make(f"battle-{task}", 2).reset(0)
    n = made.num_agents
    assert frame.obs.shape == (2, n, obs)
    assert frame.state.shape == (2, state)
    assert frame.avail_actions.shape == (2, n, actions)
    assert frame.obs.dtype == frame.state.dtype == np.float32


def test_layout_names_the_blocks_of_the_vectors():
    made = battle.layout("battle-2s3z")
    assert made.own == ((0, 4), (76, 80))
    assert (made.enemies, made.allies) == (EntityBlock(4, 5, 8), EntityBlock(44, 4, 8))
    assert (made.state_allies, made.state_enemies) == (EntityBlock(0, 5, 7), EntityBlock(35, 5, 6))
    assert (made.state_actions, made.episode_limit, made.attacks) == (65, 120, True)


def test_an_unknown_map_is_refused():
    assert not battle.owns("battle-2m")
    assert not battle.owns("3m")
    with pytest.raises(LabError, match="no battle map '3mm'; did you mean '3m'"):
        battle.layout("battle-3mm")


def test_shields_and_types_are_shown_and_enemies_number_their_types_the_other_way_round():
    env, _ = placed("battle-1s3z", [(0, 0), (1, 0), *BACK, (2, 0), (3, 0), *AWAY])
    env.armies.health[0, [1, 5]] = 40, 60
    env.armies.shield[0, [1, 5]] = 25, 10
    frame, _ = env.views.show(env.armies, None)
    enemies = frame.obs[0, 0, 4:36].reshape(4, 8)
    # health, shield, types: a stalker at its best; a zealot with 60 of 100 and 10 of 50.
    np.testing.assert_allclose(enemies[:2, 4:], [[1, 1, 0, 1], [0.6, 0.2, 1, 0]])
    ally = frame.obs[0, 0, 36:44]
    np.testing.assert_allclose(ally, [1, 1 / 9, 1 / 9, 0, 0.4, 0.5, 0, 1], rtol=1e-6)
    np.testing.assert_allclose(frame.obs[0, 0, -4:], [1, 1, 1, 0])
    np.testing.assert_allclose(frame.state[0, 7:14], [0.4, 0, 1 / 28, 0, 0.5, 0, 1], rtol=1e-6)
    np.testing.assert_allclose(frame.state[0, 34:40], [0.6, 3 / 28, 0, 0.2, 1, 0], rtol=1e-6)
    assert not frame.state[0, 52:].any()


def test_a_step_walks_1_125_cells_as_ordered():
    env, _ = placed("battle-3m", [(0, 0), (-5, 5), (-5, -5), *AWAY, (13, 0)])
    step(env, EAST, NORTH, STOP)
    step(env, WEST, SOUTH, WEST)
    step(env, SOUTH, NORTH, EAST)
    x, y = env.armies.x[0, :3], env.armies.y[0, :3]
    np.testing.assert_allclose(x, [0, -5, -5], atol=1e-5)
    np.testing.assert_allclose(y, [-1.125, 6.125, -5], atol=1e-5)


def test_moves_need_room_for_one_cell():
    places = [(13.1, 0), (12.9, 8.1), (-13.1, -8.1), (0, 0), (0, 1), (0, 2)]
    _, frame = placed("battle-3m", places)
    # north, south, east, west
    np.testing.assert_array_equal(
        frame.avail_actions[0, :, 2:6], [[1, 1, 0, 1], [0, 1, 1, 1], [1, 0, 1, 0]]
    )


def test_enemies_walk_to_the_teams_place_until_an_agent_is_within_10_cells():
    env, _ = placed("battle-3m", [(-13, 0), *BACK, (4, 0), (13, 9), (13, -9)])
    step(env, STOP, STOP, STOP)
    assert env.targets[0, 3:].tolist() == [-1, -1, -1]
    # (13, 9) to (-7, 0): 20 west and 9 south, 21.93 in all, of which 1.125.
    share = 1.125 / np.hypot(20, 9)
    np.testing.assert_allclose(env.armies.x[0, 3:5], [4 - 1.125, 13 - 20 * share], rtol=1e-5)
    np.testing.assert_allclose(env.armies.y[0, 3:5], [0, 9 - 9 * share], atol=1e-5)
    near, _ = placed("battle-3m", [(0, 0), *BACK, (9.9, 0), (10.1, 0), (13, -9)])
    step(near, STOP, STOP, STOP)
    assert near.targets[0, 3:].tolist() == [0, -1, -1]


def test_an_attack_hits_at_once_and_then_every_0_86_seconds():
    # Ticks of 1/8 s, four a step. Attacks at ticks 1, 7.88, 14.76, 21.64: steps 1, 2, 4, 6.
    env = duel(5.5)
    rewards = [step(env, ATTACK, 0, 0)[1].reward[0] for _ in range(6)]
    np.testing.assert_allclose(rewards, [HIT, HIT, 0, HIT, 0, HIT], rtol=1e-5, atol=1e-6)
    # The enemy does the same to the agent.
    assert env.armies.health[0, 0] == env.armies.health[0, 3] == 45 - 4 * 6


def test_attacks_keep_their_rate_and_the_enemies_cooldown_has_a_factor():
    # 30 s, the first attack in the first substep: 1 + 30 / 0.86 = 35.9, and with the enemy's
    # factors 2 and 0.6 1 + 30 / 1.72 = 18.4 and 1 + 30 / 0.516 = 59.1. Were what is left of a
    # substep lost, the last would attack every 0.625 s, 48 times.
    for factor, attacks in ((2.0, 18), (0.6, 59)):
        env = duel(5.5, health=1000, enemy_health=1000, enemy_cooldown=factor)
        for _ in range(60):
            step(env, ATTACK, 0, 0)
        assert env.armies.health[0, 3] == 1000 - 35 * 6
        assert env.armies.health[0, 0] == 1000 - attacks * 6


def test_the_weapons_reach_counts_from_rim_to_rim_and_a_unit_walks_what_is_missing():
    # Both reach 5 + 0.375 + 0.375 = 5.75 and walk towards each other from 5.9 apart, to where
    # neither needs to: each sees 0.15 too much and walks it.
    env = duel(5.9)
    _, outcome = step(env, ATTACK, 0, 0)
    np.testing.assert_allclose(env.armies.x[0, [0, 3]], [0.15, 5.75], atol=1e-5)
    np.testing.assert_allclose(outcome.reward, [HIT], rtol=1e-5)


def test_an_enemy_needs_its_reaction_time_before_it_attacks_someone_new():
    slow, quick = duel(5.5, reaction_s=0.6), duel(5.5, reaction_s=0.4)
    for env, healths in ((slow, [45, 39]), (quick, [39, 39])):
        for health in healths:
            step(env, STOP, 0, 0)
            assert env.armies.health[0, 0] == health


def test_enemies_keep_a_living_target_within_their_leash_else_take_the_nearest():
    # Enemy 1 is after agent 1, while agent 2 stands nearer. Its leash: 5.75 + 1.5 = 7.25.
    def target_at(distance: float, *, health: float = 45) -> int:
        places = [(distance, 0), (0, 4), (-13, 9), (0, 0), *AWAY]
        env, _ = placed("battle-3m", places, health=[health, 45, 45, 45, 0, 0])
        env.targets[0, 3] = 0
        step(env, STOP if health else 0, STOP, STOP)
        return int(env.targets[0, 3])

    assert target_at(-7.2) == 0
    assert target_at(-7.3) == 1
    assert target_at(-5, health=0) == 1


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("m", "m", 6),
        ("s", "z", 13 - 1),
        ("s", "s", 13 + 5 - 1),
        ("z", "s", 2 * (8 - 1)),
        ("z", "z", 2 * (8 - 1)),
    ],
)
def test_damage_of_an_attack(one, other, expected):
    assert attack_damage(UNITS[one], UNITS[other]) == expected


def test_shields_are_worn_down_before_health():
    env, _ = placed("battle-1s3z", [(0, 0), *BACK, (-13, 0), *AWAY, (13, 0), (5.5, 0)])
    env.armies.shield[0, 7] = 17
    step(env, ATTACK + 3, STOP, STOP, STOP)
    assert (env.armies.shield[0, 7], env.armies.health[0, 7]) == (5, 100)
    # The stalker attacks again after 1.87 s, in the fourth step: 12, of which the shield takes 5.
    for _ in range(3):
        step(env, ATTACK + 3, STOP, STOP, STOP)
    assert (env.armies.shield[0, 7], env.armies.health[0, 7]) == (0, 93)


def test_only_the_living_within_6_cells_can_be_attacked():
    places = [(0, 0), (0, 6), (-13, 9), (5.9, 0), (-6.1, 0), (0, 1)]
    _, frame = placed("battle-3m", places)
    np.testing.assert_array_equal(frame.avail_actions[0, 0, ATTACK:], [1, 0, 1])
    env, frame = placed("battle-3m", places, health=[45, 0, 45, 45, 45, 0])
    np.testing.assert_array_equal(frame.avail_actions[0, 0, ATTACK:], [1, 0, 0])
    np.testing.assert_array_equal(frame.avail_actions[0, 1], [1, *[0] * 8])
    with pytest.raises(AssertionError, match="mask"):
        step(env, ATTACK + 2, 0, STOP)


def test_a_kill_and_a_battle_won_are_rewarded_so_that_a_won_battle_returns_20():
    env = duel(5.5, enemy_health=6)
    _, outcome = step(env, ATTACK, 0, 0)
    np.testing.assert_allclose(outcome.reward, [HIT + KILL + WIN], rtol=1e-5)
    assert outcome.won[0]
    assert outcome.terminated[0]
    everything = 3 * 45 / 6 * HIT + 3 * KILL + WIN
    assert everything == pytest.approx(20)


def test_a_lost_battle_and_one_without_survivors_end_and_are_not_won():
    for enemy_health, reward in ((45, HIT), (6, HIT + KILL)):
        env = duel(5.5, health=6, enemy_health=enemy_health)
        _, outcome = step(env, ATTACK, 0, 0)
        assert outcome.terminated[0]
        assert not outcome.won[0]
        np.testing.assert_allclose(outcome.reward, [reward], rtol=1e-5)


def test_a_battle_is_cut_off_at_its_limit():
    env = duel(5.5, health=1000)
    start = env.armies.x, env.armies.y, env.armies.health
    x, y, health = (values.copy() for values in start)
    for _ in range(2):
        outcomes = [step(env, STOP, 0, 0)[1] for _ in range(60)]
        assert [bool(outcome.truncated[0]) for outcome in outcomes] == [False] * 59 + [True]
        assert not any(outcome.terminated[0] for outcome in outcomes)
        env.place(x, y, health)


def test_units_that_stand_too_near_are_pushed_apart_but_not_by_the_dead():
    # Marines may stand 0.92 * 0.75 = 0.69 apart.
    env, _ = placed("battle-3m", [(0, 0), (0.1, 0), (0, 5), *AWAY, (13, 0)])
    step(env, STOP, STOP, STOP)
    np.testing.assert_allclose(env.armies.x[0, :2], [-0.295, 0.395], atol=2e-3)
    places = [(0, 0), (0.1, 0), (0, 0), *AWAY, (13, 0)]
    env, _ = placed("battle-3m", places, health=[45, 0, *[45] * 4])
    step(env, STOP, 0, STOP)
    assert env.armies.x[0, 1] == np.float32(0.1)
    np.testing.assert_allclose(np.diff(env.armies.x[0, [0, 2]]), [-0.69], atol=2e-3)


def test_nobody_is_pushed_off_the_field():
    env, _ = placed("battle-3m", [(13.95, 8.95), (13.9, 8.9), (0, 0), (-13, 9), *BACK])
    step(env, STOP, STOP, STOP)
    assert (env.armies.x[0, 0], env.armies.y[0, 0]) == (14, 9)


def test_a_battle_that_has_ended_stays_at_its_end_while_others_go_on():
    env = battle.make("battle-3m", 2, reaction_s=0, enemy_cooldown=1)
    places = np.array([[(0, 0), *BACK, (5.5, 0), *AWAY]] * 2, np.float32)
    env.place(places[..., 0], places[..., 1])
    env.armies.health[0, 3:] = 6, 0, 0
    _, first = env.step(np.array([[ATTACK, STOP, STOP]] * 2))
    assert first.terminated.tolist() == [True, False]
    before = env.armies.x[0].copy(), env.armies.health[0].copy()
    _, second = env.step(np.array([[WEST, EAST, EAST], [WEST, EAST, EAST]]))
    np.testing.assert_array_equal(env.armies.x[0], before[0])
    np.testing.assert_array_equal(env.armies.health[0], before[1])
    assert (second.reward[0], second.won[0], second.terminated[0]) == (0, False, False)
    np.testing.assert_allclose(env.armies.x[1, :3], [-1.125, -11.875, -11.875], atol=1e-5)


def test_teams_start_in_formation_and_only_the_enemies_places_are_drawn():
    env = battle.make("battle-5m_vs_6m", 200)
    env.reset(4)
    x, y = env.armies.x, env.armies.y
    assert (x[:, :5] == x[0, :5]).all()
    # Five marines fill two columns of three, 0.69 apart, around (-7, 0).
    np.testing.assert_allclose(x[0, :5] + 7, [-0.69, -0.69, -0.69, 0, 0], atol=1e-5)
    np.testing.assert_allclose(y[0, :5], [-0.69, 0, 0.69, -0.69, 0], atol=1e-5)
    # Six enemies on 2 of 3 columns, shuffled: each unit's mean is the formation's.
    np.testing.assert_allclose(x[:, 5:].mean(0) - 7, [-0.345] * 6, atol=0.12)
    np.testing.assert_allclose(y[:, 5:].mean(0), [0] * 6, atol=0.15)
    # Jitter 0.3 and columns +- 0.345: sqrt(0.09 + 0.119) = 0.457.
    np.testing.assert_allclose(x[:, 5:].std(), 0.457, atol=0.03)


def test_equal_seeds_give_equal_battles_and_others_do_not():
    env = battle.make("battle-2s3z", 4)
    one, same, other = env.reset(1).state, env.reset(1).state, env.reset(2).state
    np.testing.assert_array_equal(one, same)
    assert (one != other).any(1).all()


def test_maps_hold_the_units_that_their_names_say():
    assert (MAPS["9m_vs_10m"].allies, MAPS["9m_vs_10m"].enemies) == ("m" * 9, "m" * 10)
    assert (MAPS["2s4z"].allies, MAPS["2s4z"].enemies) == ("sszzzz", "sszzzz")
    assert (MAPS["3m"].types, MAPS["3m"].shields) == ("", False)
    assert (MAPS["4s6z"].types, MAPS["4s6z"].shields) == ("sz", True)

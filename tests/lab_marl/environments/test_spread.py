"""Cooperative navigation in the plane, and the team that plays it."""

import numpy as np
import pytest
from lab_marl.behaviours import spread as behaviour
from lab_marl.environments import spread
from lab_marl.environments.parallel import parallel_env
from lab_marl.environments.rollout import score
from lab_marl.environments.serial import View

pytest.importorskip("mpe2")

AGENTS = [[0.0, 0.0], [1.0, 0.0]]


def placed(agents: list, landmarks: list) -> spread.SpreadCopy:
    """A copy whose bodies rest at given places."""
    copy = spread.SpreadCopy(spread.layout(f"spread-{len(agents)}"))
    copy.reset(0)
    for bodies, places in ((copy.env.world.agents, agents), (copy.env.world.landmarks, landmarks)):
        for body, place in zip(bodies, places, strict=True):
            body.state.p_pos = np.array(place)
            body.state.p_vel = np.zeros(2)
    return copy


def test_names_say_the_number_of_agents():
    assert [spread.owns(f"spread-{n}") for n in (1, 2, 15, 16)] == [False, True, True, False]
    assert not spread.owns("spread-3x")
    # own 4, two others 4 each, three landmarks 2 each; state: three agents 4, three landmarks 2
    layout = spread.layout("spread-3")
    assert (layout.obs_size, layout.state_size) == (4 + 8 + 6, 12 + 6)
    assert (layout.num_actions, layout.episode_limit) == (5, 25)


def test_an_agent_sees_itself_then_its_team_then_the_landmarks():
    copy = placed([[0.0, 0.5], [1.0, -0.5], [0.5, 0.0]], [[0.0, 0.0], [1.0, 1.0], [0.25, 0.5]])
    copy.env.world.agents[2].state.p_vel = np.array([0.1, 0.2])
    view = copy.view()
    own, third, first = [0.5, 0.0, 0.1, 0.2], [-0.5, 0.5, 0, 0], [0.5, -0.5, 0, 0]
    landmarks = [-0.5, 0.0, 0.5, 1.0, -0.25, 0.5]
    np.testing.assert_allclose(view.obs[2], [*own, *third, *first, *landmarks])
    agents = [0.0, 0.5, 0, 0, 1.0, -0.5, 0, 0, *own]
    np.testing.assert_allclose(view.state, [*agents, 0.0, 0.0, 1.0, 1.0, 0.25, 0.5])


def test_the_team_is_paid_for_distances_and_fined_for_collisions():
    stay = np.zeros(2, int)
    # nearest agents are 0.3 and 0 away: half of -0.3
    _, result = placed(AGENTS, [[0.0, 0.3], [1.0, 0.0]]).step(stay)
    assert result.reward == pytest.approx(-0.15)
    # 0.2 apart they touch (radii 0.15): half of -0.9 for distances 0.1 and 0.8, half of -1
    _, result = placed([[0.0, 0.0], [0.2, 0.0]], [[0.1, 0.0], [1.0, 0.0]]).step(stay)
    assert result.reward == pytest.approx(0.5 * -0.9 + 0.5 * -1)


def test_a_step_is_won_when_every_landmark_has_an_agent_within_its_radius():
    stay = np.zeros(2, int)
    near, far = [0.0, 0.149], [0.0, 0.151]
    assert placed(AGENTS, [near, [1.0, 0.0]]).step(stay)[1].won
    assert not placed(AGENTS, [far, [1.0, 0.0]]).step(stay)[1].won
    # one agent may stand on two landmarks
    assert placed(AGENTS, [near, [0.0, 0.0]]).step(stay)[1].won


@pytest.mark.parametrize(("action", "push"), [(0, (0, 0)), (1, (-1, 0)), (2, (1, 0)), (4, (0, 1))])
def test_actions_push_left_right_down_up(action, push):
    # force 5 for 0.1 s on a mass of 1
    view, _ = placed(AGENTS, AGENTS).step(np.array([action, 0]))
    np.testing.assert_allclose(view.obs[0, 2:4], 0.5 * np.array(push), atol=1e-9)


def test_an_episode_lasts_25_steps_whatever_happens_and_repeats_with_its_seed():
    env = spread.make("spread-2", 3)
    first = env.reset(7)
    actions = np.tile([1, 4], (3, 1))
    outcomes = [env.step(actions)[1] for _ in range(25)]
    assert [bool(outcome.truncated.all()) for outcome in outcomes] == [False] * 24 + [True]
    assert not any(outcome.terminated.any() for outcome in outcomes)
    again = env.reset(7)
    np.testing.assert_array_equal(first.obs, again.obs)
    rewards = [env.step(actions)[1].reward for _ in range(25)]
    np.testing.assert_array_equal(rewards, [outcome.reward for outcome in outcomes])
    assert not np.array_equal(first.obs, env.reset(8).obs)


@pytest.mark.filterwarnings("ignore:The old environment creation API:DeprecationWarning")
def test_pettingzoos_own_test_passes():
    # its import alone warns of PettingZoo's own games
    from pettingzoo.test import parallel_api_test

    env = parallel_env("spread-2")
    parallel_api_test(env, num_cycles=60)
    env.reset(seed=0)
    assert env.state().shape == (12,)


def test_landmarks_are_assigned_for_the_least_total_distance():
    # agent 0 is nearer to both; taking the near one itself costs 1 + 4, the far one 2 + 1
    agents, landmarks = np.array([[[0.0, 0], [2, 0]]]), np.array([[[1.0, 0], [-2, 0]]])
    assert behaviour.assignment(agents, landmarks).tolist() == [[1, 0]]


def test_steering_pushes_along_the_longer_axis_and_counts_what_coasting_brings():
    def steer(error, velocity=(0.0, 0.0)):
        return int(behaviour.steer(np.array(error), np.array(velocity), dead_zone=0.1))

    assert [steer(e) for e in ([-1, 0.5], [1, 0.5], [0.5, -1], [0.5, 1])] == [1, 2, 3, 4]
    assert steer([0.09, 0.09]) == 0
    # 0.4 s of coasting at 1 brings 0.4: nothing is left of 0.4, and of 0.2 too much
    assert steer([0.4, 0.0], [1.0, 0.0]) == 0
    assert steer([0.2, 0.0], [1.0, 0.0]) == 1


def test_one_push_moves_an_agent_by_its_reach():
    copy = placed(AGENTS, AGENTS)
    view: View = copy.step(np.array([4, 0]))[0]
    for _ in range(24):
        view, _ = copy.step(np.zeros(2, int))
    assert view.obs[0, 1] == pytest.approx(behaviour.PUSH_REACH, abs=0.002)


def test_the_scripted_team_wins_and_random_actions_do_not():
    env = spread.make("spread-3", 20)

    def won(epsilon: float) -> float:
        actor = behaviour.start(env, epsilon=epsilon, rng=np.random.default_rng(1))
        return score(env, actor, seed=3).won.mean()

    assert won(behaviour.TIERS["expert"]) >= 0.9
    assert 0.1 <= won(behaviour.TIERS["medium"]) <= 0.7
    assert won(1.0) == 0


def test_a_team_keeps_its_landmarks_through_an_episode():
    env = spread.make("spread-2", 1)
    team = behaviour.Team(env.layout)
    frame = env.reset(0)
    team(frame, np.ones(1, bool))
    goals = team.goals
    team(env.step(np.array([[2, 3]]))[0], np.ones(1, bool))
    assert team.goals is goals

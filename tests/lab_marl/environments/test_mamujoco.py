"""Robots with shared joints, and the search for linear policies."""

from dataclasses import replace

import numpy as np
import pytest
from lab_marl.behaviours import mamujoco as behaviour
from lab_marl.behaviours.mamujoco import LinearPolicy
from lab_marl.environments import mamujoco
from lab_marl.environments.parallel import parallel_env
from lab_marl.episodes.layouts import EntityBlock, check_one_network
from labrun.errors import LabError

gymnasium = pytest.importorskip("gymnasium")
pytest.importorskip("gymnasium_robotics")

CHEETAHS = ("halfcheetah-2x3", "halfcheetah-3x2", "halfcheetah-6x1", "halfcheetah-6x1-off3")


@pytest.fixture(autouse=True)
def working_directory(tmp_path, monkeypatch):
    """MuJoCo writes its log where the process stands."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def short(monkeypatch):
    monkeypatch.setattr(mamujoco, "EPISODE_LIMIT", 8)


def random_actions(seed: int, steps: int, env) -> np.ndarray:
    layout = env.layout
    shape = (steps, env.num_envs, layout.num_agents, layout.num_actions)
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


def test_names_say_robot_partition_and_disabled_joint():
    assert all(mamujoco.owns(task) for task in (*CHEETAHS, *mamujoco.examples))
    wrong = ("halfcheetah-1x6", "halfcheetah-4x2", "ant-3x2", "halfcheetah-6x1-off6", "hopper-3x1")
    assert not any(mamujoco.owns(task) for task in wrong)
    with pytest.raises(LabError, match="no mamujoco task 'hopper-3x1'"):
        mamujoco.layout("hopper-3x1")


def test_one_network_serves_every_partition_of_a_robot():
    check_one_network([mamujoco.layout(task) for task in CHEETAHS])
    check_one_network([mamujoco.layout(task) for task in ("ant-2x4", "ant-2x4d", "ant-4x2")])
    with pytest.raises(LabError, match="cannot share one network"):
        check_one_network([mamujoco.layout("halfcheetah-2x3"), mamujoco.layout("ant-2x4")])


def test_an_observation_is_the_trunk_and_six_joints_whoever_moves_them():
    # trunk: height, pitch and three velocities; a joint: angle, velocity, 6 bits, 1 bit
    shapes = {}
    for task in CHEETAHS:
        layout = mamujoco.layout(task)
        assert layout.obs_size == 5 + 6 * 9
        shapes[task] = (layout.num_agents, layout.allies.count, layout.num_actions)
        assert layout.state_enemies == EntityBlock(layout.num_agents * 11, 6, 9)
        assert layout.state_size == layout.num_agents * 11 + 54
        assert (layout.num_non_attack, layout.continuous) == (0, True)
    assert list(shapes.values()) == [(2, 3, 3), (3, 4, 2), (6, 5, 1), (6, 5, 1)]


def test_an_agent_sees_the_other_joints_then_its_own():
    env = mamujoco.make("halfcheetah-3x2", 1)
    copy = env.copies[0]
    copy.data.qpos[:] = [7.0, 0.1, 0.2, 1.0, 1.1, 1.2, 1.3, 1.4, 1.5]
    copy.data.qvel[:] = [0.7, 0.8, 0.9, 2.0, 2.1, 2.2, 2.3, 2.4, 2.5]
    view = copy.view()
    trunk = [0.1, 0.2, 0.7, 0.8, 0.9]
    joints = [[1 + i / 10, 2 + i / 10, *np.eye(6)[i], 0] for i in range(6)]
    expected = [trunk, *(joints[i] for i in (0, 1, 4, 5, 2, 3))]
    np.testing.assert_allclose(view.obs[1], np.concatenate(expected))
    agents = [[*trunk, *np.isin(range(6), own)] for own in ((0, 1), (2, 3), (4, 5))]
    np.testing.assert_allclose(view.state, np.concatenate([*agents, *joints]))
    assert view.avail_actions.all()


def test_ant_joints_are_read_in_the_order_of_its_motors():
    copy = mamujoco.make("ant-4x2", 1).copies[0]
    copy.data.qpos[7:] = np.arange(8)
    copy.data.qvel[6:] = 10 + np.arange(8)
    # the package's parts: legs 1 to 4; the first motors are those of leg 4, whose joints come last
    assert copy.motors.tolist() == [[2, 3], [4, 5], [6, 7], [0, 1]]
    assert copy.joints()[:, 0].tolist() == [6, 7, 0, 1, 2, 3, 4, 5]
    assert copy.joints()[:, 1].tolist() == [16, 17, 10, 11, 12, 13, 14, 15]
    assert copy.trunk().shape == (5 + 6,)


@pytest.mark.parametrize("task", CHEETAHS)
def test_motion_and_reward_are_gymnasiums(task):
    env = mamujoco.make(task, 1)
    env.reset(3)
    seed = int(np.random.SeedSequence(3).generate_state(1)[0])
    reference = gymnasium.make("HalfCheetah-v5").unwrapped
    reference.reset(seed=seed)
    joints = env.layout.state_enemies
    for actions in random_actions(0, 20, env):
        frame, outcome = env.step(actions)
        control = actions[0].ravel().astype(float)
        if task.endswith("off3"):
            control[3] = 0
        seen, reward, *_ = reference.step(control)
        assert outcome.reward[0] == np.float32(reward)
        shown = frame.state[0, joints.start : joints.stop].reshape(6, 9)
        np.testing.assert_array_equal(shown[:, 0], seen[2:8].astype(np.float32))
        np.testing.assert_array_equal(shown[:, 8], [0, 0, 0, task.endswith("off3"), 0, 0])


def test_copies_that_share_a_model_do_not_disturb_each_other():
    both, alone = mamujoco.make("halfcheetah-2x3", 2), mamujoco.make("halfcheetah-2x3", 1)
    both.reset(4)
    alone.reset(4)
    for actions in random_actions(1, 10, both):
        frame, _ = both.step(actions)
        single, _ = alone.step(actions[:1])
        np.testing.assert_array_equal(frame.state[0], single.state[0])
    assert not np.array_equal(frame.state[0], frame.state[1])


def test_an_ant_that_leaves_its_healthy_height_ends_its_episode():
    env = mamujoco.make("ant-2x4", 2)
    env.reset(0)
    # Ant's trunk is healthy between 0.2 and 1
    env.copies[0].data.qpos[2] = 2.0
    outcome = env.step(random_actions(0, 1, env)[0])[1]
    assert outcome.terminated.tolist() == [True, False]
    assert not outcome.won.any()


@pytest.mark.parametrize(
    ("task", "limit"), [("halfcheetah-2x3", 200), ("halfcheetah-2x3-full", 1000)]
)
def test_a_cheetah_is_cut_off_at_the_limit(task, limit):
    env = mamujoco.make(task, 1)
    assert env.layout.episode_limit == limit
    env.reset(0)
    actions = random_actions(0, limit, env)
    cut = [env.step(actions[i])[1].truncated[0] for i in range(limit)]
    assert cut == [False] * (limit - 1) + [True]


def test_a_full_task_is_the_short_one_but_for_its_length():
    short, full = (mamujoco.layout(f"halfcheetah-6x1-off3{end}") for end in ("", "-full"))
    assert full == replace(short, task=full.task, episode_limit=1000)
    assert not mamujoco.owns("halfcheetah-6x1-full-off3")


def test_loading_a_robot_leaves_no_log_behind(working_directory):
    mamujoco.make("halfcheetah-2x3", 1)
    assert list(working_directory.iterdir()) == []


@pytest.mark.filterwarnings("ignore:The old environment creation API:DeprecationWarning")
def test_pettingzoos_own_test_passes():
    # its import alone warns of PettingZoo's own games
    from pettingzoo.test import parallel_api_test

    parallel_api_test(parallel_env("halfcheetah-3x2"), num_cycles=10)


def test_the_update_weighs_the_best_directions_by_their_difference(monkeypatch):
    monkeypatch.setattr(behaviour, "BEST", 2)
    directions = np.arange(1.0, 4.0).reshape(3, 1, 1, 1)
    forwards, backwards = np.array([3.0, 2.0, 1.0]), np.array([1.0, 0.5, 5.0])
    # best: direction 3 (max 5) and direction 1 (max 3); returns 1, 3, 5, 1 have std sqrt(2.75);
    # (1 - 5) * 3 + (3 - 1) * 1 = -10, times 0.02 / (2 sqrt(2.75))
    weights = behaviour.updated(np.ones((1, 1, 1)), directions, forwards, backwards)
    assert weights.item() == pytest.approx(1 - 10 * 0.02 / (2 * np.sqrt(2.75)))


def test_moments_are_those_of_everything_seen():
    moments = behaviour.Moments(1, 2)
    assert moments.std.tolist() == [[1, 1]]
    seen = np.array([[[1.0, 5.0]], [[3.0, 5.0]], [[8.0, 5.0]]])
    moments.add(seen[:2])
    moments.add(seen[2:])
    # mean 4, variance (9 + 1 + 16) / 3; a constant has mean 5 and counts as unit width
    np.testing.assert_allclose(moments.mean, [[4, 5]])
    np.testing.assert_allclose(moments.std, [[np.sqrt(26 / 3), 1]])


def test_a_linear_policy_normalises_what_each_agent_sees():
    weights = np.array([[[1.0, 2.0]], [[0.0, 1.0]]])
    policy = LinearPolicy(weights, np.array([[1.0, 0], [0, 0]]), np.array([[2.0, 1], [1, 4]]))
    # agent 0: (3 - 1) / 2 + 2 * 0.5; agent 1: 2 / 4
    obs = np.array([[[3.0, 0.5], [9.0, 2.0]]])
    np.testing.assert_allclose(policy.actions(obs), [[[2.0], [0.5]]])


def test_expert_is_the_best_iterate_and_medium_the_first_halfway_there():
    iterates = [LinearPolicy(np.full((1, 1, 1), i), np.zeros(1), np.ones(1)) for i in range(5)]
    # halfway from -2 to 10 is 4
    found = behaviour.chosen(iterates, np.array([-2.0, 3.0, 4.0, 10.0, 9.0]))
    assert (found.expert.weights.item(), found.medium.weights.item()) == (3, 2)


def test_a_search_repeats_with_its_seed_and_reports_each_iteration(short):
    told = []
    first = behaviour.search(
        "halfcheetah-2x3", seed=1, iterations=3, on_progress=lambda *news: told.append(news)
    )
    again = behaviour.search("halfcheetah-2x3", seed=1, iterations=3)
    other = behaviour.search("halfcheetah-2x3", seed=2, iterations=3)
    np.testing.assert_array_equal(first.returns, again.returns)
    np.testing.assert_array_equal(first.expert.weights, again.expert.weights)
    assert not np.array_equal(first.returns, other.returns)
    assert [(made, total) for made, total, _ in told] == [(1, 3), (2, 3), (3, 3)]
    assert [mean for _, _, mean in told] == first.returns.tolist()


def test_a_search_climbs_a_hill_whose_top_is_known(monkeypatch):
    def height(env, weights, moments, *, seed):
        return -np.square(weights[:, 0, 0, :2] - [0.3, -0.2]).sum(-1)

    monkeypatch.setattr(behaviour, "rollouts", height)
    found = behaviour.search("halfcheetah-2x3", seed=0, iterations=100)
    assert found.returns[0] < -0.1
    np.testing.assert_allclose(found.expert.weights[0, 0, :2], [0.3, -0.2], atol=0.05)


def test_rollouts_play_each_weight_in_a_copy_of_its_own(short):
    env = mamujoco.make("halfcheetah-6x1", 2)
    moments = behaviour.Moments(6, env.layout.obs_size)
    weights = np.zeros((2, 6, 1, env.layout.obs_size))
    weights[1, :, 0, 0] = 5.0
    returns = behaviour.rollouts(env, weights, moments, seed=0)
    # the first copy rests and pays for no control: HalfCheetah's reward is then its speed alone
    assert moments.count == 2 * 8
    frame = env.reset(0)
    expected = np.zeros(2)
    for _ in range(8):
        actions = np.clip(5 * frame.obs[:, :, :1] * [[[0]], [[1]]], -1, 1).astype(np.float32)
        frame, outcome = env.step(actions)
        expected += outcome.reward
    np.testing.assert_allclose(returns, expected, rtol=1e-6)


def test_a_played_behaviour_adds_noise_and_keeps_to_the_range(short):
    env = mamujoco.make("halfcheetah-2x3", 2)
    frame, live = env.reset(0), np.ones(2, bool)
    size = env.layout.obs_size
    still = LinearPolicy(np.zeros((2, 3, size)), np.zeros((2, size)), np.ones((2, size)))
    wild = LinearPolicy(np.full((2, 3, size), 1e3), np.zeros((2, size)), np.ones((2, size)))
    found = behaviour.Found(wild, still, np.zeros(1))

    def play(tier: str, seed: int) -> np.ndarray:
        rng = np.random.default_rng(seed)
        return behaviour.start(env, found=found, tier=tier, rng=rng)(frame, live)

    noise = np.random.default_rng(5).standard_normal((2, 2, 3))
    np.testing.assert_allclose(play("medium", 5), 0.1 * noise, rtol=1e-6)
    assert np.abs(play("expert", 5)).max() == 1
    env.step(play("expert", 5))
    with pytest.raises(LabError, match="no tier 'best'"):
        play("best", 5)

"""PettingZoo's interface to one copy."""

import warnings

import numpy as np
import pytest
from lab_marl.environments import make
from lab_marl.environments.interface import Frame, Outcome
from lab_marl.environments.parallel import AsParallelEnv, parallel_env
from lab_marl.episodes.layouts import EntityBlock, Layout
from labrun.errors import LabError

TASKS = ["cn-2", "battle-3m", "battle-2s3z"]


@pytest.mark.parametrize("task", TASKS)
def test_pettingzoos_own_test_passes(task):
    pytest.importorskip("pygame", reason="pettingzoo.test imports pygame")
    with warnings.catch_warnings():
        # The package imports games of its own that are deprecated.
        warnings.simplefilter("ignore", DeprecationWarning)
        from pettingzoo.test import parallel_api_test
    parallel_api_test(parallel_env(task), num_cycles=200)


@pytest.mark.parametrize("task", TASKS)
def test_pettingzoos_own_test_of_seeds_passes(task):
    """It draws from the action spaces without a mask."""
    pytest.importorskip("pygame", reason="pettingzoo.test imports pygame")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        from pettingzoo.test.seed_test import parallel_seed_test
    parallel_seed_test(lambda: parallel_env(task), num_cycles=30)


def test_an_action_that_is_forbidden_or_missing_is_refused():
    env = parallel_env("battle-3m")
    env.reset(seed=0)
    with pytest.raises(LabError) as caught:
        env.step({"agent_0": 1, "agent_1": 0, "agent_2": 1})
    assert str(caught.value) == (
        "action 0 of 'agent_1' is not allowed now; allowed: [1, 2, 3, 4, 5] "
        "(its observation's action_mask)"
    )
    with pytest.raises(LabError, match=r"action 9 of 'agent_2' is not in its space Dis"):
        env.step({"agent_0": 1, "agent_1": 1, "agent_2": 9})
    with pytest.raises(LabError, match=r"no action for 'agent_1'; every agent in env.agents"):
        env.step({"agent_0": 1, "agent_2": 1})


def test_a_task_without_a_picture_offers_no_render_mode():
    assert AsParallelEnv(Arm()).metadata["render_modes"] == []
    with pytest.raises(LabError) as caught:
        AsParallelEnv(Arm(), render_mode="rgb_array")
    assert str(caught.value) == "task 'arm' has no render mode 'rgb_array'; allowed: None"
    with pytest.raises(LabError, match="has no render mode 'human'; allowed: None, rgb_array"):
        parallel_env("cn-2", render_mode="human")


@pytest.mark.parametrize("task", TASKS)
def test_what_is_seen_is_what_the_vectorised_copy_shows_and_lies_in_the_spaces(task):
    env, copy = parallel_env(task), make(task, 1)
    views, infos = env.reset(seed=4)
    frame = copy.reset(4)
    assert list(views) == list(infos) == env.agents == env.possible_agents
    rng = np.random.default_rng(0)
    for _ in range(5):
        for i, agent in enumerate(env.agents):
            np.testing.assert_array_equal(views[agent]["observation"], frame.obs[0, i])
            np.testing.assert_array_equal(views[agent]["action_mask"], frame.avail_actions[0, i])
            assert env.observation_space(agent).contains(views[agent])
        np.testing.assert_array_equal(env.state(), frame.state[0])
        assert env.state_space.contains(env.state())
        joint = [rng.choice(np.flatnonzero(mask)) for mask in frame.avail_actions[0]]
        views, rewards, *_ = env.step(dict(zip(env.agents, joint, strict=True)))
        frame, outcome = copy.step(np.array([joint]))
        assert set(rewards.values()) == {float(outcome.reward[0])}


def test_agents_leave_together_when_the_episode_is_won():
    env = parallel_env("cn-2")
    env.reset(seed=0)
    env._show(env.env.place(np.array([[[0, 0], [5, 5]]]), np.array([[[0, 3], [5, 4]]])))
    _, rewards, terminated, truncated, infos = env.step({"agent_0": 4, "agent_1": 0})
    assert rewards == {"agent_0": 1.0, "agent_1": 1.0}
    assert terminated == {"agent_0": True, "agent_1": True}
    assert truncated == {"agent_0": False, "agent_1": False}
    assert infos == {"agent_0": {"battle_won": True}, "agent_1": {"battle_won": True}}
    assert env.agents == []
    assert env.step({}) == ({}, {}, {}, {}, {})


def test_an_episode_that_is_cut_off_is_truncated_for_everybody():
    env = parallel_env("cn-2")
    env.reset(seed=0)
    env._show(env.env.place(np.array([[[0, 0], [0, 1]]]), np.array([[[5, 5], [5, 0]]])))
    for _ in range(49):
        env.step(dict.fromkeys(env.agents, 0))
    _, _, terminated, truncated, infos = env.step(dict.fromkeys(env.agents, 0))
    assert truncated == {"agent_0": True, "agent_1": True}
    assert not any(terminated.values())
    assert not any(info["battle_won"] for info in infos.values())


def test_a_seed_begins_a_series_of_episodes_that_can_be_repeated():
    env = parallel_env("cn-4")

    def states(seed: int) -> list[list[float]]:
        env.reset(seed=seed)
        first = env.state().tolist()
        env.reset()
        return [first, env.state().tolist()]

    one, other, again = states(1), states(2), states(1)
    assert one == again
    assert one != other
    assert one[0] != one[1]


class Arm:
    """One joint for each of two agents; what they see is what they did."""

    num_envs = 1
    layout = Layout(
        task="arm",
        family="arm",
        num_agents=2,
        num_enemies=1,
        num_non_attack=0,
        attacks=False,
        obs_size=1,
        state_size=2,
        own=((0, 1),),
        allies=EntityBlock(1, 1, 0),
        enemies=EntityBlock(1, 1, 0),
        state_allies=EntityBlock(0, 2, 1),
        state_enemies=EntityBlock(2, 1, 0),
        episode_limit=10,
        continuous=True,
    )

    def reset(self, seed: int) -> Frame:
        return self.frame(np.zeros((1, 2, 1), np.float32))

    def step(self, actions: np.ndarray) -> tuple[Frame, Outcome]:
        no = np.zeros(1, bool)
        return self.frame(actions), Outcome(np.zeros(1, np.float32), no, no, no)

    def frame(self, seen: np.ndarray) -> Frame:
        return Frame(seen, seen[..., 0], np.ones((1, 2, 1), bool))


def test_continuous_actions_have_a_box_and_their_observations_no_mask():
    env = AsParallelEnv(Arm())
    assert env.agents == []
    views, _ = env.reset()
    assert {agent: view.tolist() for agent, view in views.items()} == {
        "agent_0": [0],
        "agent_1": [0],
    }
    box = env.action_space("agent_1")
    assert (box.shape, box.low.min(), box.high.max()) == ((1,), -1, 1)
    joint = {"agent_0": np.float32([0.5]), "agent_1": np.float32([-1])}
    views, *_ = env.step(joint)
    assert views == joint
    assert all(env.observation_space(agent).contains(view) for agent, view in views.items())


def test_nothing_is_shown_before_the_first_reset():
    env = parallel_env("cn-2", render_mode="rgb_array")
    for ask in (env.state, env.render):
        with pytest.raises(LabError, match=r"no episode has begun; call reset\(\) first"):
            ask()


@pytest.mark.parametrize("task", ["spread-3", "tag-3v1", "halfcheetah-2x3"])
def test_a_simulators_task_keeps_its_seeds_and_has_no_render_mode(task):
    env = parallel_env(task)
    assert env.metadata["render_modes"] == []
    assert first_steps(env, seed=3) == first_steps(env, seed=3) != first_steps(env, seed=4)
    with pytest.raises(LabError, match=r"has no render mode 'rgb_array'; allowed: None"):
        parallel_env(task, render_mode="rgb_array")


def first_steps(env: AsParallelEnv, *, seed: int) -> list[list[float]]:
    """What the agents see after each of three fixed actions."""
    views, _ = env.reset(seed=seed)
    seen = []
    for _ in range(3):
        action = np.zeros(env.env.layout.num_actions, np.float32)
        views, *_ = env.step(dict.fromkeys(env.agents, action if env.env.layout.continuous else 0))
        seen.append([float(x) for view in views.values() for x in vector(view)])
    return seen


def vector(view: object) -> np.ndarray:
    return np.asarray(view["observation"] if isinstance(view, dict) else view)


def test_render_draws_only_where_it_was_asked_to():
    drawn = parallel_env("battle-3m", render_mode="rgb_array")
    drawn.reset(seed=0)
    picture = drawn.render()
    assert picture is not None
    assert (picture.ndim, picture.shape[-1], picture.dtype) == (3, 3, np.uint8)
    assert drawn.metadata == {"name": "battle-3m", "render_modes": ["rgb_array"]}
    silent = parallel_env("battle-3m")
    silent.reset(seed=0)
    assert silent.render() is None

"""Pursuit in the plane, its prey, and the pack that hunts it."""

import numpy as np
import pytest
from lab_marl.behaviours import tag as behaviour
from lab_marl.environments import tag
from lab_marl.environments.parallel import parallel_env
from lab_marl.environments.rollout import score

pytest.importorskip("mpe2")

FAR = [[5.0, 5.0], [-5.0, 5.0]]
"""Obstacles out of everybody's way."""
LEFT, RIGHT, DOWN, UP = 1, 2, 3, 4


def placed(task: str, bodies: list, obstacles: list = FAR) -> tag.TagCopy:
    """A copy whose predators and prey rest at given places."""
    copy = tag.TagCopy(tag.layout(task))
    copy.reset(0)
    for group, places in ((copy.env.world.agents, bodies), (copy.env.world.landmarks, obstacles)):
        for body, place in zip(group, places, strict=True):
            body.state.p_pos = np.array(place)
            body.state.p_vel = np.zeros(2)
    return copy


def test_names_say_predators_and_prey():
    assert tag.owns("tag-3v1")
    assert tag.owns("tag-15v15")
    assert not any(tag.owns(f"tag-{name}") for name in ("1v1", "3v0", "16v1", "3"))
    # own 4 and two obstacles; two other predators and one prey, 4 each
    layout = tag.layout("tag-3v1")
    assert (layout.obs_size, layout.state_size) == (8 + 8 + 4, 3 * 8 + 4)
    assert (layout.num_agents, layout.num_enemies, layout.num_actions) == (3, 1, 5)


def test_a_predator_sees_itself_obstacles_other_predators_then_the_prey():
    copy = placed("tag-2v1", [[0.0, 0.0], [0.5, 0.0], [0.0, 0.25]], [[0.5, 0.5], [-0.5, 0.0]])
    copy.env.world.agents[1].state.p_vel = np.array([0.1, 0.2])
    copy.env.world.agents[2].state.p_vel = np.array([0.3, 0.4])
    view = copy.view()
    own = [0.5, 0.0, 0.1, 0.2, 0.0, 0.5, -1.0, 0.0]
    np.testing.assert_allclose(view.obs[1], [*own, -0.5, 0, 0, 0, -0.5, 0.25, 0.3, 0.4])
    first = [0, 0, 0, 0, 0.5, 0.5, -0.5, 0]
    np.testing.assert_allclose(view.state, [*first, *own, 0.0, 0.25, 0.3, 0.4])


def test_ten_points_for_each_predator_that_touches_prey_and_won_at_the_second_touch():
    # radii 0.075 and 0.05: a touch at less than 0.125; bodies at rest move only after the step
    stay = np.zeros(2, int)
    _, both = placed("tag-2v1", [[-0.1, 0.0], [0.1, 0.0], [0.0, 0.0]]).step(stay)
    assert (both.reward, both.won, both.terminated) == (20, True, False)
    copy = placed("tag-2v1", [[-0.1, 0.0], [0.9, 0.0], [0.0, 0.0]])
    results = []
    for _ in range(3):
        for body, place in zip(copy.env.world.agents, [-0.1, 0.9, 0.0], strict=True):
            body.state.p_pos, body.state.p_vel = np.array([place, 0.0]), np.zeros(2)
        results.append(copy.step(stay)[1])
    assert [result.reward for result in results] == [10, 10, 10]
    assert [result.won for result in results] == [False, True, False]


def test_touches_are_counted_anew_in_the_next_episode():
    copy = placed("tag-2v1", [[-0.1, 0.0], [0.1, 0.0], [0.0, 0.0]])
    copy.step(np.zeros(2, int))
    copy.reset(1)
    assert copy.catches == 0


def flight(prey: list, *predators: list) -> int:
    return int(tag.flight(np.array([prey]), np.array(predators))[0])


def test_the_prey_runs_from_the_predator():
    assert flight([0.0, 0.0], [-0.3, 0.0]) == RIGHT
    assert flight([0.0, 0.0], [0.0, 0.3]) == DOWN
    # between two on one axis it leaves sideways
    assert flight([0.0, 0.0], [-0.3, 0.0], [0.3, 0.1]) == DOWN


def test_the_prey_does_not_leave_the_field():
    # to the right it would reach 0.85, beyond 0.7; from 0.4 it would not
    assert flight([0.65, 0.0], [0.45, 0.05]) == DOWN
    assert flight([0.4, 0.0], [0.2, 0.05]) == RIGHT


def test_the_environment_moves_the_prey():
    view, _ = placed("tag-2v1", [[-0.5, 0.0], [-0.6, 0.2], [0.0, 0.0]]).step(np.array([0, UP]))
    # acceleration 4 and 3 for 0.1 s
    prey, second = view.state[-4:], view.state[8:12]
    np.testing.assert_allclose(prey, [0, 0, 0.4, 0], atol=1e-9)
    np.testing.assert_allclose(second, [-0.6, 0.2, 0, 0.3], atol=1e-9)


def test_an_episode_is_cut_off_after_25_steps_and_repeats_with_its_seed():
    env = tag.make("tag-2v1", 2)
    runs = []
    for _ in range(2):
        env.reset(3)
        outcomes = [env.step(np.tile([LEFT, UP], (2, 1))) for _ in range(25)]
        runs.append(np.stack([frame.state for frame, _ in outcomes]))
        assert outcomes[-1][1].truncated.all()
        assert not outcomes[-2][1].truncated.any()
    np.testing.assert_array_equal(*runs)


@pytest.mark.filterwarnings("ignore:The old environment creation API:DeprecationWarning")
def test_pettingzoos_own_test_passes():
    # its import alone warns of PettingZoo's own games
    from pettingzoo.test import parallel_api_test

    env = parallel_env("tag-2v1")
    parallel_api_test(env, num_cycles=60)
    env.reset(seed=0)
    assert env.state().shape == (20,)


def test_hunters_are_shared_out_by_distance_and_evenly():
    prey = np.array([[[0.0, 0.0], [1.0, 0.0]]])
    # all four are nearest to the first prey; the two that lose least go for the second
    predators = np.array([[[0.0, 0.1], [0.4, 0.0], [0.0, -0.1], [0.3, 0.0]]])
    assert behaviour.shared_out(predators, prey).tolist() == [[0, 1, 0, 1]]
    assert behaviour.shared_out(predators[:, :1], prey).tolist() == [[0]]


def test_a_predator_runs_to_where_its_prey_will_be():
    env = tag.make("tag-2v1", 1)
    frame = env.reset(0)
    # the prey is 0.2 to the left and runs right at 1: 0.3 s later it is 0.1 to the right
    for predator in (0, 8):
        frame.state[0, predator : predator + 4] = [0, 0, 0, 0]
    frame.state[0, 16:] = [-0.2, 0.0, 1.0, 0.0]
    hunt = behaviour.start(env, epsilon=0.0, rng=np.random.default_rng(0))
    assert hunt(frame, np.ones(1, bool)).tolist() == [[RIGHT, RIGHT]]


def test_the_scripted_pack_wins_and_random_actions_rarely_do():
    env = tag.make("tag-3v1", 30)

    def won(epsilon: float) -> float:
        actor = behaviour.start(env, epsilon=epsilon, rng=np.random.default_rng(1))
        return score(env, actor, seed=3).won.mean()

    expert, medium = won(behaviour.TIERS["expert"]), won(behaviour.TIERS["medium"])
    assert expert >= 0.6
    assert 0.15 <= medium <= expert - 0.15
    assert won(1.0) <= 0.1

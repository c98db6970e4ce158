"""Copies that step one after the other."""

import numpy as np
import pytest
from lab_marl.environments.serial import Result, SerialEnv, View, simulator
from lab_marl.episodes.layouts import EntityBlock, Layout
from labrun.errors import LabError


def small_layout(*, continuous: bool = False) -> Layout:
    """Two agents, one enemy, episodes of at most 3 steps."""
    return Layout(
        task="count",
        family="count",
        num_agents=2,
        num_enemies=1,
        num_non_attack=0 if continuous else 2,
        attacks=False,
        obs_size=2,
        state_size=1,
        own=((0, 2),),
        allies=EntityBlock(2, 1, 0),
        enemies=EntityBlock(2, 1, 0),
        state_allies=EntityBlock(0, 2, 0),
        state_enemies=EntityBlock(0, 1, 1),
        episode_limit=3,
        continuous=continuous,
    )


class Count:
    """Shows its seed and its number of steps; ends, won, after `length` steps; pays the step."""

    def __init__(self, length: int, avail: np.ndarray) -> None:
        self.length, self.avail = length, avail
        self.seed = self.steps = 0

    def reset(self, seed: int) -> View:
        self.seed, self.steps = seed, 0
        return self.view()

    def step(self, actions: np.ndarray) -> tuple[View, Result]:
        self.steps += 1
        over = self.steps == self.length
        return self.view(), Result(float(self.steps), over, over)

    def view(self) -> View:
        obs = np.full((2, 2), float(self.steps))
        return View(obs, np.array([self.seed / 2**32]), self.avail)


FREE = np.array([[True, True], [True, True]])
NO_ONE = np.array([[True, False], [True, True]])
STAY = np.zeros((2, 2), np.int64)


def env_of(*lengths: int) -> SerialEnv:
    return SerialEnv(small_layout(), [Count(length, FREE) for length in lengths])


def test_a_copy_has_the_same_seed_however_many_stand_beside_it():
    two, three = env_of(9, 9), env_of(9, 9, 9)
    two.reset(5)
    three.reset(5)
    seeds = [copy.seed for copy in three.copies]
    assert [copy.seed for copy in two.copies] == seeds[:2]
    assert len(set(seeds)) == 3
    two.reset(6)
    assert two.copies[0].seed != seeds[0]


def test_a_copy_that_ended_is_not_stepped_and_keeps_its_last_view():
    env = env_of(1, 2)
    env.reset(0)
    frame, outcome = env.step(STAY)
    assert outcome.terminated.tolist() == outcome.won.tolist() == [True, False]
    assert outcome.reward.tolist() == [1, 1]
    frame, outcome = env.step(STAY)
    assert outcome.reward.tolist() == [0, 2]
    assert outcome.terminated.tolist() == outcome.won.tolist() == [False, True]
    assert frame.obs[:, 0, 0].tolist() == [1, 2]
    assert [copy.steps for copy in env.copies] == [1, 2]


def test_an_episode_is_cut_off_at_the_limit_unless_it_ends_there():
    env = env_of(3, 9)
    env.reset(0)
    for _ in range(2):
        assert not env.step(STAY)[1].truncated.any()
    outcome = env.step(STAY)[1]
    assert outcome.terminated.tolist() == [True, False]
    assert outcome.truncated.tolist() == [False, True]
    assert not env.live.any()


def test_a_reset_brings_ended_copies_back_for_a_whole_episode():
    env = env_of(1, 9)
    for _ in range(2):
        env.reset(0)
        outcomes = [env.step(STAY)[1] for _ in range(3)]
        assert [o.reward.tolist() for o in outcomes] == [[1, 1], [0, 2], [0, 3]]
        assert [o.truncated[1] for o in outcomes] == [False, False, True]


def test_frames_have_the_types_of_the_interface():
    frame = env_of(9).reset(0)
    assert frame.obs.dtype == frame.state.dtype == np.float32
    assert frame.avail_actions.dtype == bool
    assert frame.obs.shape == (1, 2, 2)


def test_a_forbidden_action_is_refused_while_a_copy_lives_and_ignored_afterwards():
    env = SerialEnv(small_layout(), [Count(1, NO_ONE)])
    env.reset(0)
    forbidden = np.array([[1, 0]])
    with pytest.raises(AssertionError, match="mask forbids"):
        env.step(forbidden)
    env.step(np.array([[0, 1]]))
    env.step(forbidden)


def test_continuous_actions_keep_to_their_range_and_shape():
    env = SerialEnv(small_layout(continuous=True), [Count(9, np.ones((2, 1), bool))])
    env.reset(0)
    env.step(np.array([[[1.0], [-1.0]]], np.float32))
    for wrong in (1.5, np.nan):
        with pytest.raises(AssertionError, match="outside"):
            env.step(np.full((1, 2, 1), wrong, np.float32))
    with pytest.raises(AssertionError, match="shape"):
        env.step(np.zeros((1, 2, 2), np.float32))


def test_a_missing_simulator_says_how_to_install_it():
    with pytest.raises(LabError, match=r"no_such_game is not installed.*labrun\[marl\]'; rollout"):
        simulator("no_such_game.maps")

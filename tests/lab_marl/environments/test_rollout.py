"""Recording and scoring of episodes, on the grid task, where every number is known."""

import numpy as np
import pytest
from lab_marl.environments import grid, rollout
from lab_marl.environments.interface import Frame, Outcome
from lab_marl.episodes.layouts import EntityBlock, Layout

NONE, SOUTH, EAST = 0, 2, 4
# Copy 1: agent 1 must go one step east, so that the episode has one transition. Copy 2: one more.
# Copy 3: nobody is anywhere near, and agent 1 stops at the field's edge.
AGENTS = np.array([[[0, 0], [5, 5]], [[0, 0], [5, 5]], [[4, 0], [5, 0]]])
LANDMARKS = np.array([[[0, 3], [5, 4]], [[0, 4], [5, 4]], [[0, 5], [0, 4]]])


class Placed(grid.GridEnv):
    """Begins every episode from the same cells; remembers the seeds that it was given."""

    def __init__(self, num_envs: int = 3) -> None:
        super().__init__(grid.layout("cn-2"), num_envs)
        self.seeds: list[int] = []

    def reset(self, seed: int) -> Frame:
        self.seeds.append(seed)
        return self.place(AGENTS[: self.num_envs], LANDMARKS[: self.num_envs])


def go_east(frame: Frame, live: np.ndarray) -> np.ndarray:
    """Agent 1 goes east while it can, agent 2 stays."""
    actions = np.zeros(frame.obs.shape[:2], np.int64)
    actions[:, 0] = np.where(frame.avail_actions[:, 0, EAST], EAST, NONE)
    return actions


class Eastward:
    def start(self, layout: Layout, num_envs: int):
        return go_east


def test_play_records_every_frame_up_to_the_last_and_nothing_after_it():
    episodes, won = rollout.play(Placed(), go_east, seed=0)
    assert won.tolist() == [True, True, False]
    assert episodes.lengths.tolist() == [2, 3, 51]
    assert episodes.obs.shape == (3, 51, 2, 8)
    # Copy 2: agent 1 at (1, 1), (1, 2), (1, 3), counted from one; agent 2 at (6, 6).
    np.testing.assert_array_equal(
        episodes.state[1, :4, :4], [[1, 1, 6, 6], [1, 2, 6, 6], [1, 3, 6, 6], [0, 0, 0, 0]]
    )
    np.testing.assert_array_equal(episodes.obs[1, 2, 0], [1, 3, 6, 6, 1, 5, 6, 5])
    np.testing.assert_array_equal(episodes.filled[1, :4], [True, True, True, False])


def test_actions_rewards_and_ends_stand_at_the_frame_where_the_transition_begins():
    episodes, _ = rollout.play(Placed(), go_east, seed=0)
    np.testing.assert_array_equal(
        episodes.actions[1, :3], [[EAST, NONE], [EAST, NONE], [EAST, NONE]]
    )
    np.testing.assert_array_equal(episodes.reward[1, :3], [0, 1, 0])
    np.testing.assert_array_equal(episodes.terminated[1, :3], [False, True, False])
    assert not episodes.truncated[:2].any()
    assert np.flatnonzero(episodes.truncated[2]).tolist() == [49]
    assert not episodes.terminated[2].any()
    assert episodes.returns.tolist() == [1, 1, 0]


def test_the_mask_of_the_last_frame_is_recorded_and_what_the_actor_would_do_there():
    episodes, _ = rollout.play(Placed(), go_east, seed=0)
    # Copy 3 ends with agent 1 at the east edge, row 5 of 6: it may not go on east.
    np.testing.assert_array_equal(episodes.avail_actions[2, 50, 0], [1, 1, 1, 1, 0])
    assert episodes.actions[2, 50].tolist() == [NONE, NONE]
    # Copy 1 ends first: it is asked again while the others go on.
    assert episodes.actions[0, 1].tolist() == [EAST, NONE]
    assert not episodes.actions[0, 2:].any()
    assert not episodes.avail_actions[0, 2:].any()


def test_the_actor_sees_which_copies_are_live():
    seen = []

    def watching(frame: Frame, live: np.ndarray) -> np.ndarray:
        seen.append(live.tolist())
        return go_east(frame, live)

    rollout.score(Placed(), watching, seed=0)
    assert seen[:3] == [[True, True, True], [False, True, True], [False, False, True]]
    assert len(seen) == 50


def test_on_step_counts_the_steps_from_the_reset_on():
    for run in (rollout.play, rollout.score):
        steps: list[int] = []
        run(Placed(2), go_east, seed=0, on_step=steps.append)
        assert steps == [0, 1, 2]


def test_score_keeps_returns_wins_and_transitions():
    tally = rollout.score(Placed(), go_east, seed=0)
    assert tally.returns.tolist() == [1, 1, 0]
    assert tally.won.tolist() == [True, True, False]
    assert tally.lengths.tolist() == [1, 2, 50]


@pytest.mark.parametrize("seed", [0, 7])
def test_score_agrees_with_play(seed):
    env = grid.make("cn-2", 16)
    episodes, won = rollout.play(env, go_east, seed=seed)
    tally = rollout.score(env, go_east, seed=seed)
    np.testing.assert_array_equal(tally.returns, episodes.returns)
    np.testing.assert_array_equal(tally.won, won)
    np.testing.assert_array_equal(tally.lengths, episodes.lengths - 1)


def test_many_episodes_are_played_in_batches_of_at_most_the_size_and_different_seeds():
    made: list[Placed] = []

    def make_env(num_envs: int) -> Placed:
        made.append(Placed(num_envs))
        return made[-1]

    tally = rollout.score_episodes(
        make_env, Eastward(), grid.layout("cn-2"), episodes=8, batch=3, seed=5
    )
    assert [env.num_envs for env in made] == [3, 2]
    assert tally.lengths.tolist() == [1, 2, 50, 1, 2, 50, 1, 2]
    seeds = [rollout.batch_seed(5, index) for index in range(3)]
    assert [made[0].seeds, made[1].seeds] == [seeds[:2], seeds[2:]]
    assert len({*seeds, *(rollout.batch_seed(6, index) for index in range(3))}) == 6


class Slider:
    """One agent with two numbers as its action; ends, not won, after two steps."""

    num_envs = 1
    layout = Layout(
        task="slider",
        family="slider",
        num_agents=1,
        num_enemies=2,
        num_non_attack=0,
        attacks=False,
        obs_size=1,
        state_size=1,
        own=((0, 1),),
        allies=EntityBlock(1, 0, 0),
        enemies=EntityBlock(1, 0, 0),
        state_allies=EntityBlock(0, 1, 1),
        state_enemies=EntityBlock(1, 0, 0),
        episode_limit=2,
        continuous=True,
    )

    def reset(self, seed: int) -> Frame:
        self.place = np.zeros((1, 1, 1), np.float32)
        return self.frame()

    def step(self, actions: np.ndarray) -> tuple[Frame, Outcome]:
        self.place = self.place + actions.sum()
        no, over = np.zeros(1, bool), np.array([self.place[0, 0, 0] > 1])
        return self.frame(), Outcome(np.float32([0.5]), over, no, no)

    def frame(self) -> Frame:
        return Frame(self.place, self.place[:, 0], np.ones((1, 1, 2), bool))


def test_continuous_actions_are_recorded_as_numbers():
    def push(frame: Frame, live: np.ndarray) -> np.ndarray:
        return np.array([[[0.25, 0.5]]], np.float32)

    episodes, won = rollout.play(Slider(), push, seed=0)
    assert episodes.actions.dtype == np.float32
    np.testing.assert_array_equal(episodes.actions[0, :, 0], 3 * [[0.25, 0.5]])
    np.testing.assert_array_equal(episodes.obs[0, :, 0, 0], [0, 0.75, 1.5])
    assert (episodes.returns.tolist(), won.tolist()) == ([1.0], [False])

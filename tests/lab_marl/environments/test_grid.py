"""The grid task against recorded transitions of the published data and cases made by hand."""

from pathlib import Path

import h5py
import numpy as np
import pytest
from lab_marl.environments import grid
from lab_marl.episodes.layouts import EntityBlock

PUBLISHED = Path(__file__).parents[4] / "shared" / "data" / "marl"

NONE, NORTH, SOUTH, WEST, EAST = range(5)

# (task, state, actions, next state, won) of the published files. Coordinates count from 1.
RECORDED = [
    # cn-2, expert: the last two steps of an episode.
    ("cn-2", [3, 3, 4, 2, 1, 5, 3, 6], [4, 4], [3, 4, 4, 3, 1, 5, 3, 6], False),
    ("cn-2", [3, 4, 4, 3, 1, 5, 3, 6], [1, 4], [2, 4, 4, 4, 1, 5, 3, 6], True),
    # cn-4: agents 1 and 2 both want (10, 7) and stay; agent 3 takes the cell that 2 did not leave.
    (
        "cn-4",
        [9, 7, 10, 6, 10, 5, 10, 10, 3, 1, 1, 2, 3, 2, 2, 9],
        [2, 4, 4, 0],
        [9, 7, 10, 6, 10, 6, 10, 10, 3, 1, 1, 2, 3, 2, 2, 9],
        False,
    ),
    # The same again: now agents 1, 2 and 3 all want (10, 7), and nobody moves.
    (
        "cn-4",
        [9, 7, 10, 6, 10, 6, 10, 10, 3, 1, 1, 2, 3, 2, 2, 9],
        [2, 4, 4, 0],
        [9, 7, 10, 6, 10, 6, 10, 10, 3, 1, 1, 2, 3, 2, 2, 9],
        False,
    ),
    # Three agents follow each other, the third into the cell that the first leaves.
    (
        "cn-4",
        [10, 4, 10, 9, 10, 10, 10, 6, 10, 10, 10, 9, 9, 10, 8, 7],
        [4, 4, 3, 4],
        [10, 5, 10, 10, 10, 9, 10, 7, 10, 10, 10, 9, 9, 10, 8, 7],
        True,
    ),
]


def placed(task: str, agents: list, landmarks: list, **options):
    env = grid.make(task, 1, **options)
    return env, env.place(np.array([agents]), np.array([landmarks]))


def from_state(task: str, state: list[int]):
    cells = np.array(state).reshape(-1, 2) - 1
    return placed(task, *map(list, np.split(cells, 2)))


@pytest.mark.parametrize(("task", "state", "actions", "after", "won"), RECORDED)
def test_recorded_transitions_come_out_as_recorded(task, state, actions, after, won):
    env, _ = from_state(task, state)
    frame, outcome = env.step(np.array([actions]))
    np.testing.assert_array_equal(frame.state[0], after)
    assert outcome.won[0] == outcome.terminated[0] == won
    assert outcome.reward[0] == float(won)
    assert not outcome.truncated[0]


@pytest.mark.parametrize("quality", ["expert", "medium"])
@pytest.mark.parametrize("task", ["cn-2", "cn-4"])
def test_all_recorded_episodes_come_out_as_recorded(task, quality):
    files = sorted((PUBLISHED / task / quality).glob("**/*.h5"))
    if not files:
        pytest.skip(f"the published data of {task} is not in {PUBLISHED}")
    with h5py.File(files[0]) as file:
        data = {name: np.asarray(file[name]) for name in file}
    filled = data["filled"][..., 0].astype(bool)
    ends = data["terminated"][..., 0].astype(bool)
    env = grid.make(task, len(filled))
    start = data["state"][:, 0].reshape(len(filled), -1, 2) - 1
    frame = env.place(*np.split(start, 2, axis=1))
    for t in range(filled.shape[1]):
        live = filled[:, t]
        np.testing.assert_array_equal(frame.obs[live], data["obs"][live, t])
        np.testing.assert_array_equal(frame.state[live], data["state"][live, t])
        np.testing.assert_array_equal(frame.avail_actions[live], data["avail_actions"][live, t])
        going = live & ~ends[:, :t].any(1)
        if not going.any():
            break
        actions = np.where(going[:, None], data["actions"][:, t, :, 0], NONE)
        frame, outcome = env.step(actions)
        np.testing.assert_array_equal(outcome.reward[going], data["reward"][going, t, 0])
        # The files mark the time limit as an end, too.
        np.testing.assert_array_equal((outcome.terminated | outcome.truncated), going & ends[:, t])


def test_observation_is_own_cell_then_other_agents_then_landmarks_counted_from_one():
    _, frame = placed("cn-2", [[0, 2], [4, 5]], [[3, 0], [5, 1]])
    np.testing.assert_array_equal(frame.obs[0, 0], [1, 3, 5, 6, 4, 1, 6, 2])
    np.testing.assert_array_equal(frame.obs[0, 1], [5, 6, 1, 3, 4, 1, 6, 2])
    np.testing.assert_array_equal(frame.state[0], [1, 3, 5, 6, 4, 1, 6, 2])
    assert frame.obs.dtype == frame.state.dtype == np.float32


def test_layout_names_the_blocks_of_the_vectors():
    made = grid.layout("cn-4")
    assert (made.obs_size, made.state_size, made.num_actions) == (16, 16, 5)
    assert made.own == ((0, 2),)
    assert (made.allies, made.enemies) == (EntityBlock(2, 3, 2), EntityBlock(8, 4, 2))
    assert (made.state_allies, made.state_enemies) == (EntityBlock(0, 4, 2), EntityBlock(8, 4, 2))
    assert (made.attacks, made.state_actions, made.episode_limit) == (False, None, 50)


def test_known_names_are_those_of_2_to_15_agents():
    assert [n for n in range(20) if grid.owns(f"cn-{n}")] == list(range(2, 16))
    assert not grid.owns("cn-02")
    assert not grid.owns("battle-3m")


def test_what_is_out_of_sight_shows_zeros():
    # Sight 2: agent 1 at (0, 0) sees the landmark at (2, 2), not agent 2 at (2, 3).
    _, frame = placed("cn-2", [[0, 0], [2, 3]], [[2, 2], [5, 5]], sight=2)
    np.testing.assert_array_equal(frame.obs[0, 0], [1, 1, 0, 0, 3, 3, 0, 0])
    np.testing.assert_array_equal(frame.obs[0, 1], [3, 4, 0, 0, 3, 3, 0, 0])


def test_moves_that_leave_the_field_are_not_available():
    env, frame = placed("cn-2", [[0, 5], [5, 0]], [[2, 2], [3, 3]])
    np.testing.assert_array_equal(frame.avail_actions[0, 0], [1, 0, 1, 1, 0])
    np.testing.assert_array_equal(frame.avail_actions[0, 1], [1, 1, 0, 0, 1])
    with pytest.raises(AssertionError, match="mask"):
        env.step(np.array([[NORTH, NONE]]))


def test_two_agents_may_change_places_but_not_enter_the_cell_of_one_that_stays():
    env, _ = placed("cn-2", [[2, 2], [2, 3]], [[5, 0], [5, 5]])
    env.step(np.array([[EAST, WEST]]))
    np.testing.assert_array_equal(env.agents[0], [[2, 3], [2, 2]])
    env.step(np.array([[NONE, EAST]]))
    np.testing.assert_array_equal(env.agents[0], [[2, 3], [2, 2]])


def test_agents_that_share_a_cell_may_both_leave_it():
    env, _ = placed("cn-2", [[2, 2], [2, 2]], [[5, 0], [5, 5]])
    env.step(np.array([[NORTH, SOUTH]]))
    np.testing.assert_array_equal(env.agents[0], [[1, 2], [3, 2]])


@pytest.mark.parametrize(
    ("reach", "expected"),
    [
        ([[1, 0], [1, 0]], False),  # nobody reaches the second landmark
        ([[1, 1], [0, 0]], False),  # the second agent reaches nothing
        ([[1, 1], [1, 0]], True),  # 1-2 and 2-1
        # All agents and all landmarks have a partner, but 1 and 2 only have the same one.
        ([[1, 0, 0], [1, 0, 0], [0, 1, 1]], False),
        ([[1, 1, 0], [1, 0, 0], [0, 1, 1]], True),
    ],
)
def test_the_team_needs_a_landmark_of_its_own_for_every_agent(reach, expected):
    assert grid.matched(np.array([reach], bool))[0] == expected


def test_reach_is_two_cells_in_both_directions_and_is_not_remembered():
    # Agent 2 is in reach of (5, 5) from the start. Agent 1 at (0, 4) is in reach of (0, 1) only
    # after a step west, by which time agent 2 has left.
    env, _ = placed("cn-2", [[0, 4], [3, 3]], [[0, 1], [5, 5]])
    _, outcome = env.step(np.array([[NONE, WEST]]))
    assert not outcome.won[0]
    _, outcome = env.step(np.array([[WEST, NONE]]))
    assert not outcome.won[0]
    _, outcome = env.step(np.array([[NONE, EAST]]))
    assert outcome.won[0]


def test_an_episode_is_cut_off_at_its_limit_without_being_over():
    env, _ = placed("cn-2", [[0, 0], [0, 1]], [[5, 5], [5, 0]])
    for _ in range(2):
        outcomes = [env.step(np.array([[NONE, NONE]]))[1] for _ in range(50)]
        assert [bool(outcome.truncated[0]) for outcome in outcomes] == [False] * 49 + [True]
        assert not any(outcome.terminated[0] or outcome.reward[0] for outcome in outcomes)
        env.place(env.agents, env.landmarks)


def test_a_copy_that_has_ended_stays_as_it_is_while_others_go_on():
    env = grid.make("cn-2", 2)
    # Copy 1 wins with its first step, copy 2 does not.
    env.place(
        np.array([[[0, 0], [5, 5]], [[0, 0], [0, 1]]]),
        np.array([[[1, 1], [5, 4]], [[5, 5], [5, 0]]]),
    )
    first = env.step(np.array([[EAST, NONE], [SOUTH, NONE]]))[1]
    _, second = env.step(np.array([[EAST, NONE], [SOUTH, NONE]]))
    assert first.terminated.tolist() == [True, False]
    assert second.terminated.tolist() == [False, False]
    assert second.reward.tolist() == [0, 0]
    np.testing.assert_array_equal(env.agents, [[[0, 1], [5, 5]], [[2, 0], [0, 1]]])
    _, late = [env.step(np.array([[NONE, NONE]] * 2)) for _ in range(48)][-1]
    assert late.truncated.tolist() == [False, True]


@pytest.mark.parametrize("task", ["cn-2", "cn-4", "cn-15"])
def test_episodes_start_on_distinct_cells_with_no_landmark_in_reach(task):
    env = grid.make(task, 64)
    env.reset(3)
    for agents, landmarks in zip(env.agents, env.landmarks, strict=True):
        cells = np.concatenate([agents, landmarks])
        assert len({tuple(cell) for cell in cells}) == len(cells)
        assert np.abs(agents[:, None] - landmarks[None]).max(-1).min() > grid.REACH
    assert env.agents.min() == env.landmarks.min() == 0
    assert env.agents.max() == env.landmarks.max() == env.size - 1


def test_agents_that_leave_too_few_cells_for_the_landmarks_are_drawn_again():
    # Four agents on a field of 6 x 6 reach nearly all of it.
    env = grid.make("cn-4", 32)
    env.size = 6
    env.reset(0)
    assert np.abs(env.agents[:, :, None] - env.landmarks[:, None]).max(-1).min() > grid.REACH


def test_equal_seeds_give_equal_starts_and_others_do_not():
    env = grid.make("cn-4", 8)
    one, same, other = env.reset(1).state, env.reset(1).state, env.reset(2).state
    np.testing.assert_array_equal(one, same)
    assert (one != other).any(1).all()
    assert len({tuple(row) for row in one}) == 8

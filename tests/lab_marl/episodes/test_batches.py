"""Batches: order, masks and packing."""

import numpy as np
import torch
from lab_marl.episodes.batches import make_batch
from stairs_cases import grid_layout, random_batch, random_episodes


def test_episodes_are_sorted_by_length_and_cut_at_the_longest():
    layout = grid_layout()
    episodes = random_episodes(layout, [2, 7, 4, 9])
    batch = make_batch(layout, episodes, np.array([0, 1, 2]), device="cpu")
    assert batch.obs.shape == (8, 3, 2, layout.obs_size)
    assert batch.counts == (3, 3, 3, 2, 2, 1, 1, 1)
    np.testing.assert_array_equal(batch.obs[:, 0].numpy(), episodes.obs[1, :8])
    np.testing.assert_array_equal(batch.reward[:, 2].numpy(), episodes.reward[0, :8])


def test_valid_steps_end_with_the_terminal_transition():
    batch = random_batch(grid_layout(), [3, 1])
    assert batch.valid.T.tolist() == [[1, 1, 1, 0], [1, 0, 0, 0]]
    assert batch.transitions.T.tolist() == [[1, 1, 1, 0], [1, 0, 0, 0]]


def test_an_episode_that_was_cut_off_has_no_transition_at_its_last_frame():
    batch = random_batch(grid_layout(), [3, 1], cut=True)
    assert batch.valid.T.tolist() == [[1, 1, 1, 1], [1, 1, 0, 0]]
    assert batch.transitions.T.tolist() == [[1, 1, 1, 0], [1, 0, 0, 0]]


def test_packed_frames_come_time_step_by_time_step():
    batch = random_batch(grid_layout(), [2, 1])
    packed = batch.reward[batch.packed()]
    torch.testing.assert_close(packed[:2], batch.reward[0])
    torch.testing.assert_close(packed[2:4], batch.reward[1])
    assert packed[4:].tolist() == [batch.reward[2, 0].item()]

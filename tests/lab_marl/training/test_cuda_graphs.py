"""What of CUDA graphs runs without a GPU: padded lengths, and how a batch is copied."""

import torch
from lab_marl.training.cuda_graphs import fill, padded_length
from stairs_cases import grid_layout, random_batch


def test_lengths_are_rounded_up_to_four_in_each_doubling():
    found = [padded_length(frames) for frames in range(1, 34)]
    assert found[:8] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert found[8:16] == [10, 10, 12, 12, 14, 14, 16, 16]
    assert found[16:] == [20] * 4 + [24] * 4 + [28] * 4 + [32] * 4 + [40]
    assert len({padded_length(frames) for frames in range(1, 201)}) == 27


def test_a_longer_batch_holds_the_shorter_one_and_zeros():
    layout = grid_layout(3)
    longer = random_batch(layout, [9, 8]).lengthened(12)
    shorter = random_batch(layout, [4, 2], seed=1)
    fill(longer, shorter)
    wanted = shorter.lengthened(12)
    for name, value in vars(wanted).items():
        if isinstance(value, torch.Tensor):
            assert torch.equal(getattr(longer, name), value), name
    assert wanted.counts == (*shorter.counts, *[0] * 7)
    assert not wanted.avail_actions[5:].any()
    assert not wanted.filled[5:].any()

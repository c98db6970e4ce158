"""Micro-batches hold every rollout once, without the padding that a part has in common."""

import pytest
import torch
from lab_llm.microbatches import by_length

BATCH = {
    "prompt_ids": torch.tensor([[0, 1, 2], [0, 0, 3], [4, 5, 6], [0, 0, 7]]),
    "prompt_mask": torch.tensor([[0, 1, 1], [0, 0, 1], [1, 1, 1], [0, 0, 1]]),
    "completion_ids": torch.tensor([[1, 2, 3, 4], [5, 0, 0, 0], [6, 7, 8, 0], [9, 0, 0, 0]]),
    "completion_mask": torch.tensor([[1, 1, 1, 1], [1, 0, 0, 0], [1, 1, 1, 0], [1, 0, 0, 0]]),
    "advantages": torch.tensor([[1.0, 1, 1, 1], [2, 0, 0, 0], [3, 3, 3, 0], [4, 0, 0, 0]]),
    "num_items_in_batch": torch.tensor(9),
}


def test_short_rollouts_come_first_and_padding_goes():
    short, long = by_length(BATCH, 2)
    assert short["completion_ids"].tolist() == [[5], [9]]
    assert short["prompt_ids"].tolist() == [[3], [7]]
    assert short["advantages"].tolist() == [[2.0], [4.0]]
    assert long["completion_ids"].tolist() == [[6, 7, 8, 0], [1, 2, 3, 4]]
    assert long["prompt_ids"].tolist() == [[4, 5, 6], [0, 1, 2]]
    assert long["num_items_in_batch"] == 9


def test_rollouts_that_make_no_equal_parts_are_refused():
    with pytest.raises(ValueError, match="4 rollouts do not make 3 equal"):
        by_length(BATCH, 3)

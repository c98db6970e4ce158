"""Padding, and scores of many completions."""

import torch
from lab_llm.training.sequences import padded, score


def test_padding_puts_prompts_right_and_completions_left_of_the_seam():
    ids, mask = padded([[1], [2, 3]], [[4, 5], [6]], 0, "cpu")
    assert ids.tolist() == [[0, 1, 4, 5], [2, 3, 6, 0]]
    assert mask.tolist() == [[0, 1, 1, 1], [1, 1, 1, 0]]


def test_scores_return_to_their_rows_and_short_ranks_run_as_many_batches():
    calls = []

    def logprobs(ids: torch.Tensor, mask: torch.Tensor, width: int) -> torch.Tensor:
        calls.append(len(ids))
        return -ids[:, -width:].float()

    got = score(
        logprobs,
        [[9, 9, 9], [9]],
        [[1, 2], [3]],
        width=4,
        batch_size=1,
        pad_token_id=0,
        num_batches=3,
    )
    assert got.tolist() == [[-1, -2, 0, 0], [-3, 0, 0, 0]]
    assert len(calls) == 3

"""Rollouts out of what TRL's trainer makes of a batch."""

import torch
from lab_llm.training.rollouts import from_trl


def test_a_tools_tokens_are_read_and_are_not_the_policys():
    output = {
        "prompt_ids": torch.tensor([[0, 4], [3, 4]]),
        "prompt_mask": torch.tensor([[0, 1], [1, 1]]),
        "completion_ids": torch.tensor([[5, 6, 7], [5, 6, 0]]),
        "completion_mask": torch.tensor([[1, 1, 1], [1, 1, 0]]),
        "num_items_in_batch": torch.tensor(4),
    }
    given = {"rewards": torch.tensor([1.0, 0.0]), "advantages": torch.tensor([2.0, -1.0])}
    plain = from_trl(output, **given)
    assert plain.loss_mask.tolist() == [[1, 1, 1], [1, 1, 0]]
    assert plain.advantages.tolist() == [[2, 2, 2], [-1, -1, 0]]
    told = from_trl(output | {"tool_mask": torch.tensor([[1, 0, 1], [1, 1, 1]])}, **given)
    assert told.loss_mask.tolist() == [[1, 0, 1], [1, 1, 0]]
    assert told.advantages.tolist() == [[2, 0, 2], [-1, -1, 0]]
    assert told.attention_mask.tolist() == [[0, 1, 1, 1, 1], [1, 1, 1, 1, 0]]
    assert told.lengths.tolist() == [3, 2]
    assert told.ids.tolist() == [[0, 4, 5, 6, 7], [3, 4, 5, 6, 0]]
    assert told.num_tokens.item() == 4

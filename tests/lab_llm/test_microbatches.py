"""Micro-batches hold every rollout once, without the padding that a part has in common."""

import pytest
import torch
from lab_llm.training.config import GRPOSettings
from lab_llm.training.microbatches import by_length, micro_batch_size, minibatches
from labrun.errors import LabError

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


def test_a_batch_for_two_steps_is_dealt_out_at_random_and_whole():
    first = minibatches(BATCH, 2, 4, seed=0)
    assert [len(part["completion_ids"]) for part in first] == [1] * 4
    ids = sorted(part["advantages"].max().item() for part in first)
    assert ids == [1.0, 2.0, 3.0, 4.0]
    # Each step's own parts are in order of length: rollouts 1 to 4 have 4, 1, 3 and 1 tokens.
    lengths = [int(part["completion_mask"].sum()) for part in first]
    assert lengths[0] <= lengths[1]
    assert lengths[2] <= lengths[3]
    dealt = {
        frozenset(part["advantages"].max().item() for part in minibatches(BATCH, 2, 4, seed=s)[:2])
        for s in range(20)
    }
    assert len(dealt) > 3
    again = minibatches(BATCH, 2, 4, seed=0)
    assert all(
        torch.equal(a["prompt_ids"], b["prompt_ids"]) for a, b in zip(first, again, strict=True)
    )


def test_a_teachers_prompts_are_padded_left_too():
    told = {
        "teacher_prompt_ids": torch.tensor([[0, 8, 9], [0, 0, 9], [7, 8, 9], [0, 0, 9]]),
        "teacher_prompt_mask": torch.tensor([[0, 1, 1], [0, 0, 1], [1, 1, 1], [0, 0, 1]]),
    }
    short, long = by_length(BATCH | told, 2)
    assert short["teacher_prompt_ids"].tolist() == [[9], [9]]
    assert long["teacher_prompt_mask"].tolist() == [[1, 1, 1], [0, 1, 1]]


@pytest.mark.parametrize(
    ("prompts", "generations", "steps", "processes", "limit", "size"),
    [
        (32, 8, 1, 1, 64, 64),  # the defaults
        (4, 8, 1, 1, 64, 32),  # all 32
        (4, 8, 2, 1, 64, 16),  # 16 a step
        (32, 8, 1, 1, 7, 4),
        (3, 5, 1, 1, 8, 5),
        (3, 5, 1, 3, 8, 5),
        (6, 4, 1, 2, 8, 6),  # 12 a process: 1, 2, 3, 4, 6
        (13, 13, 1, 1, 12, 1),
        (1, 2, 1, 2, 64, 1),
    ],
)
def test_a_micro_batch_is_the_largest_divisor_up_to_the_limit(
    prompts, generations, steps, processes, limit, size
):
    settings = GRPOSettings(
        prompts_per_step=prompts,
        num_generations=generations,
        num_minibatches=steps,
        micro_batch_size=limit,
    )
    assert micro_batch_size(settings, processes) == size


def test_rollouts_that_do_not_part_evenly_have_no_micro_batch():
    settings = GRPOSettings(prompts_per_step=2, num_generations=2, num_minibatches=3)
    with pytest.raises(LabError, match=r"4 rollouts .* a multiple of 3 "):
        micro_batch_size(settings, 1)

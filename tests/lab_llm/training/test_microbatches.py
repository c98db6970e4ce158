"""Micro-batches hold every rollout once, without the padding that a part has in common."""

import dataclasses

import pytest
import torch
from lab_llm.training.config import GRPOSettings
from lab_llm.training.microbatches import micro_batch_rows, micro_batch_size, minibatches
from lab_llm.training.rollouts import Rollouts, TeacherSequences
from labrun.errors import LabError

PROMPTS = torch.tensor([[0, 1, 2], [0, 0, 3], [4, 5, 6], [0, 0, 7]])
COMPLETIONS = torch.tensor([[1, 2, 3, 4], [5, 0, 0, 0], [6, 7, 8, 0], [9, 0, 0, 0]])
TOLD = torch.tensor([[0, 8, 9], [0, 0, 9], [7, 8, 9], [0, 0, 9]])
ADVANTAGES = torch.tensor([1.0, 2.0, 3.0, 4.0])
MASK = (COMPLETIONS != 0).float()


def sequences(prompts: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Prompts and completions side by side, and where their tokens are."""
    ids = torch.cat([prompts, COMPLETIONS], 1)
    return ids, (ids != 0).long()


BATCH = Rollouts(
    *sequences(PROMPTS),
    loss_mask=MASK,
    rewards=torch.tensor([[0.0, 1], [0, 2], [0, 3], [0, 4]]),
    rollout_advantages=ADVANTAGES,
    advantages=ADVANTAGES[:, None] * MASK,
    num_tokens=torch.tensor(9),
    old_logprobs=-MASK,
    importance_weight=ADVANTAGES[:, None] / 2,
    teacher=TeacherSequences(
        *sequences(TOLD), has_context=torch.tensor([1.0, 1, 0, 0]), num_tokens=torch.tensor(5.0)
    ),
)


def test_short_rollouts_come_first_and_padding_goes():
    short, long = minibatches(BATCH, 1, 2, seed=0)
    assert short.ids.tolist() == [[3, 5], [7, 9]]
    assert short.attention_mask.tolist() == [[1, 1], [1, 1]]
    assert short.advantages.tolist() == [[2.0], [4.0]]
    assert long.ids.tolist() == [[4, 5, 6, 6, 7, 8, 0], [0, 1, 2, 1, 2, 3, 4]]
    assert long.attention_mask.tolist() == [[1, 1, 1, 1, 1, 1, 0], [0, 1, 1, 1, 1, 1, 1]]
    assert long.loss_mask.tolist() == [[1, 1, 1, 0], [1, 1, 1, 1]]
    assert long.old_logprobs is not None
    assert long.old_logprobs.tolist() == [[-1, -1, -1, 0], [-1, -1, -1, -1]]
    assert long.reference_logprobs is None
    assert long.num_tokens == 9


def test_values_of_whole_rollouts_and_of_turns_keep_their_columns():
    short, long = minibatches(BATCH, 1, 2, seed=0)
    assert short.rewards.tolist() == [[0, 2], [0, 4]]
    assert long.rollout_advantages.tolist() == [3, 1]
    assert long.importance_weight is not None
    assert long.importance_weight.tolist() == [[1.5], [0.5]]


def test_what_a_teacher_reads_loses_its_own_padding():
    short, long = minibatches(BATCH, 1, 2, seed=0)
    assert short.teacher is not None
    assert long.teacher is not None
    assert short.teacher.ids.tolist() == [[9, 5], [9, 9]]
    assert short.teacher.has_context.tolist() == [1, 0]
    assert long.teacher.ids.tolist() == [[7, 8, 9, 6, 7, 8, 0], [0, 8, 9, 1, 2, 3, 4]]
    assert long.teacher.num_tokens == 5


def test_tokens_of_others_among_the_policys_are_read_and_not_learned():
    heard = torch.tensor([[1.0, 0, 0, 1], [1, 0, 0, 0], [1, 0, 1, 0], [1, 0, 0, 0]])
    _, long = minibatches(dataclasses.replace(BATCH, loss_mask=heard), 1, 2, seed=0)
    assert long.loss_mask.tolist() == [[1, 0, 1, 0], [1, 0, 0, 1]]
    assert long.attention_mask[1].tolist() == [0, 1, 1, 1, 1, 1, 1]


def test_rollouts_that_make_no_equal_parts_are_refused():
    with pytest.raises(ValueError, match="4 rollouts do not make 3 equal"):
        minibatches(BATCH, 1, 3, seed=0)


def test_a_batch_for_two_steps_is_dealt_out_at_random_and_whole():
    lengths = BATCH.lengths
    assert lengths.tolist() == [4, 1, 3, 1]
    first = torch.cat(micro_batch_rows(lengths, 2, 4, seed=0)).tolist()
    assert sorted(first) == [0, 1, 2, 3]
    # each step's own parts are in order of length
    assert lengths[first[0]] <= lengths[first[1]]
    assert lengths[first[2]] <= lengths[first[3]]
    dealt = {
        frozenset(torch.cat(micro_batch_rows(lengths, 2, 4, seed=s)[:2]).tolist())
        for s in range(20)
    }
    assert len(dealt) > 3
    assert torch.cat(micro_batch_rows(lengths, 2, 4, seed=0)).tolist() == first


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

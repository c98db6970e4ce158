"""What the teacher is given, and its scores by the generic path."""

import numpy as np
import pytest
import torch
from lab_llm.problems import Problem
from lab_llm.training import teacher
from labrun import LabError

PROBLEM = Problem(id="p", prompt=({"role": "user", "content": "q"},), answer="6", solution="5+1=6")


def group(*rewards: float) -> teacher.Group:
    return teacher.Group([f"text {i}" for i in range(len(rewards))], rewards, size=4)


def rng(number: int) -> np.random.Generator:
    return np.random.default_rng(number)


def test_a_sibling_is_a_correct_rollout_of_the_same_group_and_another_one():
    found = group(1, 0, 1, 1, 1, 1, 1, 1)
    for seed in range(20):
        siblings = {
            row: found.correct_sibling(row, lambda n, s=seed: np.random.default_rng([s, n]))
            for row in (0, 2, 3)
        }
        for row, text in siblings.items():
            assert text in {"text 0", "text 2", "text 3"} - {f"text {row}"}
        assert len(set(siblings.values())) == 2


def test_every_other_correct_rollout_can_be_the_sibling():
    found = group(1, 0, 1, 1)
    seen = {found.correct_sibling(0, lambda n, s=s: np.random.default_rng(s)) for s in range(40)}
    assert seen == {"text 2", "text 3"}


def test_the_only_correct_rollout_is_its_own_sibling():
    assert group(0, 0, 1, 0).correct_sibling(2, rng) == "text 2"


def test_a_wrong_rollout_may_read_the_groups_correct_one():
    assert group(0, 0, 1, 0).correct_sibling(0, rng) == "text 2"


def test_a_group_without_a_correct_rollout_has_no_sibling():
    with pytest.raises(LabError, match="no correct rollout of p"):
        teacher.solution_for(PROBLEM, "sibling", group(0, 0, 0, 0), 1, rng)


def test_reference_solution_falls_back_to_the_answer_and_says_so():
    bare = Problem(id="p", prompt=PROBLEM.prompt, answer="6")
    ask = (group(1, 0, 0, 0), 0, rng)
    assert teacher.solution_for(PROBLEM, "reference_solution", *ask) == (
        "5+1=6",
        "reference_solution",
    )
    assert teacher.solution_for(bare, "reference_solution", *ask) == ("6", "answer")
    assert teacher.solution_for(PROBLEM, "answer", *ask) == ("6", "answer")


def test_padding_puts_prompts_right_and_completions_left_of_the_seam():
    ids, mask = teacher.padded([[1], [2, 3]], [[4, 5], [6]], 0, "cpu")
    assert ids.tolist() == [[0, 1, 4, 5], [2, 3, 6, 0]]
    assert mask.tolist() == [[0, 1, 1, 1], [1, 1, 1, 0]]


def test_scores_return_to_their_rows_and_short_ranks_run_as_many_batches():
    calls = []

    def logprobs(ids: torch.Tensor, mask: torch.Tensor, width: int) -> torch.Tensor:
        calls.append(len(ids))
        return -ids[:, -width:].float()

    got = teacher.score(
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

"""What the teacher is shown."""

import numpy as np
from lab_llm.policy.config import PolicyConfig
from lab_llm.policy.tokenizer_files import load_tokenizer
from lab_llm.problems import MARKED, Problem
from lab_llm.text.prompts import encode, with_solution
from lab_llm.training import teacher

PROBLEM = Problem(id="p", prompt=({"role": "user", "content": "q"},), answer="6", solution="5+1=6")


def group(*rewards: float) -> teacher.GradedRollouts:
    return teacher.GradedRollouts([f"text {i}" for i in range(len(rewards))], rewards, group_size=4)


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


def solution(context: teacher.Context, problem: Problem = PROBLEM, *rewards: float):
    """What a teacher with this context is shown of the first rollout, and what it is."""
    return prompts_of(context, *rewards).solution(problem, 0)


def prompts_of(context: teacher.Context, *rewards: float) -> teacher.TeacherPrompts:
    return teacher.TeacherPrompts(
        teacher=teacher.Teacher(context=context, template="{prompt}{solution}", scored="mixed"),
        tokenizer=load_tokenizer(PolicyConfig()),
        forms=MARKED,
        graded=group(*rewards),
        seed=rng,
        count=COUNTED.append,
    )


COUNTED: list[str] = []
"""What the prompts' teachers were shown."""


def test_a_group_without_a_correct_rollout_has_no_sibling_and_no_prompt():
    COUNTED.clear()
    assert solution("sibling", PROBLEM, 0, 0.5, 0, 0) == (None, "sibling")
    assert prompts_of("sibling", 0, 0.5, 0, 0).of(PROBLEM, 0) is None
    assert COUNTED == []


def test_reference_solution_falls_back_to_the_answer_and_says_so():
    bare = Problem(id="p", prompt=PROBLEM.prompt, answer="6")
    assert solution("reference_solution", PROBLEM, 1, 0, 0, 0) == ("5+1=6", "reference_solution")
    assert solution("reference_solution", bare, 1, 0, 0, 0) == ("6", "answer")
    assert solution("answer", PROBLEM, 1, 0, 0, 0) == ("6", "answer")


def test_a_prompt_is_made_once_for_all_rollouts_that_read_it_and_counted_for_each():
    COUNTED.clear()
    prompts = prompts_of("answer", 1, 0, 0, 0)
    first, second = prompts.of(PROBLEM, 0), prompts.of(PROBLEM, 1)
    messages = with_solution(PROBLEM.prompt, "6", "{prompt}{solution}")
    assert first == encode(prompts.tokenizer, messages)
    assert second is first
    assert COUNTED == ["answer", "answer"]


def test_problems_of_one_id_and_one_solution_have_prompts_of_their_own():
    prompts = prompts_of("answer", 1, 0, 0, 0, 1, 0, 0, 0)
    ask = ({"role": "user", "content": "How many legs has a horse?"},)
    other = Problem(id=PROBLEM.id, prompt=ask, answer=PROBLEM.answer)
    assert prompts.of(PROBLEM, 0) != prompts.of(other, 4)

"""The countdown task: grading, splits, traces, data set."""

import dataclasses
import itertools
import random

import pytest
from lab_llm.datasets import countdown as task
from lab_llm.datasets.countdown import CountdownDataset, grade
from lab_llm.datasets.countdown_config import CountdownConfig
from labrun.contract import Dataset
from labrun.errors import LabError
from labrun.plan import Setup

EVERY_FAMILY_AND_SPLIT = list(itertools.product(task.FAMILIES, task.SPLITS))


@pytest.mark.parametrize(
    ("completion", "reward"),
    [
        ("5+1=6 6+2=8 no maybe 5+2=7 7-1=6 yes. ans 5+2-1", 1.0),
        ("ans 2+5-1", 1.0),
        ("ans 2-1+5\n", 1.0),
        ("1-2+5: a partial result below 0. ans 1-2+5", 0.0),  # 4
        ("ans 5+2-1 ans 5+1-2", 0.0),  # the last one counts: 4
        ("ans 5+1", 0.0),  # 2 is not used
        ("ans 5+2-1+1-1", 0.0),  # 1 is used three times
        ("ans 6", 0.0),
        ("ans 5+2-1 or so", 0.0),
        ("plans 5+2-1", 0.0),
        ("ans -1+5+2", 0.0),  # a sign in front is no chain of the task
        ("ans 5+2--1", 0.0),
        ("ans 5*2-1", 0.0),
        ("ans __import__('os')", 0.0),
        ("ans 5+2-\u0661", 0.0),  # an Arabic 1 is no digit here
        ("ans " + "1" * 10_000, 0.0),
        ("5+2-1", 0.0),
        ("", 0.0),
    ],
)
def test_only_an_expression_that_uses_every_number_once_and_hits_the_target_passes(
    completion, reward
):
    assert grade([5, 2, 1], 6, completion) == reward


def test_a_number_given_twice_must_be_used_twice():
    assert grade([4, 4, 3], 5, "ans 4+4-3") == 1.0
    assert grade([4, 4, 3], 7, "ans 4+3") == 0.0
    assert grade([4, 3, 3], 5, "ans 4+4-3") == 0.0


def test_expressions_are_all_chains_without_a_negative_partial_result():
    # 1 and 3: 1+3, 3+1, 3-1; 1-3 goes below 0.
    assert task.expressions((1, 3)) == {"1+3": 4, "3+1": 4, "3-1": 2}
    assert "1-2+5" not in task.expressions((1, 2, 5))
    assert "5-2+1" in task.expressions((1, 2, 5))


def test_every_identity_lies_in_exactly_one_split_over_all_families():
    held = [task.identities(family, split) for family, split in EVERY_FAMILY_AND_SPLIT]
    everything = list(itertools.chain.from_iterable(held))
    assert len(everything) == len(set(everything))
    # Multisets of three numbers up to 9: C(11, 3).
    in_domain = {i for split in task.SPLITS for i in task.identities("in_domain", split)}
    assert len({numbers for numbers, _ in in_domain}) == 165
    # 1, 2, 5: 8 by sums, 5+2-1, 5+1-2, 5-1-2; 2+1-5 is below 0.
    assert {target for numbers, target in in_domain if numbers == (1, 2, 5)} == {8, 6, 4, 2}


def test_families_differ_in_the_number_and_the_size_of_numbers():
    for split in task.SPLITS:
        assert all(max(n) <= 9 and len(n) == 3 for n, _ in task.identities("in_domain", split))
        assert all(9 < max(n) <= 14 for n, _ in task.identities("ood_large", split))
        assert all(max(n) <= 6 and len(n) == 4 for n, _ in task.identities("ood_four", split))


def test_the_sizes_of_the_splits_stay_as_the_shipped_model_was_trained_with():
    sizes = {f: [len(task.identities(f, s)) for s in task.SPLITS] for f in task.FAMILIES}
    assert sizes == {
        "in_domain": [106, 215, 45, 204],
        "ood_large": [685, 234, 156, 385],
        "ood_four": [281, 56, 65, 237],
    }


def test_problems_are_a_pure_function_of_the_seed_and_distinct_while_there_are_enough():
    drawn = task.problems("in_domain", "train", 215, 3)
    assert drawn == task.problems("in_domain", "train", 215, 3)
    assert drawn != task.problems("in_domain", "train", 215, 4)
    assert len({task.identity_of(problem) for problem in drawn}) == 215
    more = task.problems("in_domain", "train", 300, 3)
    assert more[:215] == drawn
    assert len({problem.id for problem in more}) == 300
    assert more[215].id.endswith("#2")


def test_a_problem_says_what_it_asks_and_its_solution_passes():
    for family, split in EVERY_FAMILY_AND_SPLIT:
        for problem in task.problems(family, split, 20, 0):
            numbers, target = problem.payload["numbers"], problem.payload["target"]
            name = task.identity_name((tuple(sorted(numbers)), target))
            assert problem.id == f"countdown/{family}/{name}"
            text = f"nums {' '.join(map(str, numbers))} make {target}"
            assert problem.prompt == ({"role": "user", "content": text},)
            assert problem.answer == str(target)
            assert task.verify(problem, problem.solution) == 1.0
            assert "no" not in problem.solution.split()


def test_unknown_names_are_refused_with_what_is_allowed():
    with pytest.raises(LabError, match="no countdown family 'ood_for'; did you mean 'ood_four'"):
        task.problems("ood_for", "train", 1, 0)
    with pytest.raises(LabError, match="no countdown split 'test'"):
        task.identities("in_domain", "test")


def test_an_expression_is_worked_from_left_to_right():
    assert task.worked("5+2-1") == "5+2=7 7-1=6"
    assert task.clean_trace("10-4+3-9") == "10-4=6 6+3=9 9-9=0 yes. ans 10-4+3-9"


def test_every_step_of_a_search_is_true_and_every_no_has_an_epistemic_word():
    rng = random.Random(0)
    for identity in task.identities("ood_four", "warmstart")[:100]:
        words = task.search_trace(identity, rng, style=task.SEARCH).split()
        for word in words:
            if "=" in word:
                left, right = word.split("=")
                assert sum(map(int, task.TERM.findall(left))) == int(right)
        after_no = [words[i + 1] for i, word in enumerate(words) if word == "no"]
        assert set(after_no) <= {"wait", "hmm", "maybe"}
        assert len(after_no) <= 2


def test_searches_pass_as_often_as_their_style_says():
    # Three tries that hit with .3, giving up with .1 after a miss:
    # .3 + .7 * .9 * (.3 + .7 * .9 * .3) = .608; a little more where nothing is left to miss.
    rng, held = random.Random(0), task.identities("in_domain", "train")
    drawn = [rng.choice(held) for _ in range(4000)]
    passed = [grade(*i, task.search_trace(i, rng, style=task.SEARCH)) for i in drawn]
    assert sum(passed) / 4000 == pytest.approx(0.608, abs=0.03)


def test_a_reference_of_any_richness_carries_the_solution():
    rng, identity = random.Random(1), ((1, 2, 5), 6)
    assert task.reference(identity, "5+2-1", "answer", rng) == "5+2-1"
    clean = "5+2=7 7-1=6 yes. ans 5+2-1"
    assert task.reference(identity, "5+2-1", "solution", rng) == clean
    searches = [task.reference(identity, "5+2-1", "search", rng) for _ in range(50)]
    assert all(search.endswith(clean) for search in searches)
    assert any(" no " in search for search in searches)
    assert task.question([5, 2, 1], 6, ref="5+2-1") == "nums 5 2 1 make 6\nref: 5+2-1"


def test_the_data_set_trains_on_nothing_that_it_evaluates():
    data = CountdownDataset(CountdownConfig(train_size=215, eval_size=200)).sets
    trained = {task.identity_of(problem) for problem in data.train}
    assert set(data.evaluation) == {"in_domain", "ood_large", "ood_four"}
    for problems in data.evaluation.values():
        scored = {task.identity_of(problem) for problem in problems}
        assert len(scored) == 200
        assert not scored & trained
    assert data.verify(data.train[0], f"ans {data.train[0].solution.split()[-1]}") == 1.0


def test_the_data_set_keeps_the_contract_and_its_fingerprint_follows_the_config():
    data = CountdownDataset(CountdownConfig())
    assert isinstance(data, Dataset)
    assert data.plan(Setup()).facts == {
        "train": 215,
        "train_distinct": 215,
        "evaluation": {"in_domain": 200, "ood_large": 200, "ood_four": 200},
    }
    assert data.fingerprint() == CountdownDataset(CountdownConfig()).fingerprint()
    assert data.fingerprint() != CountdownDataset(CountdownConfig(seed=1)).fingerprint()


def test_an_evaluation_set_that_cannot_be_filled_is_refused():
    with pytest.raises(LabError, match="eval_size=205: the evaluation set in_domain holds 204"):
        CountdownDataset(CountdownConfig(eval_size=205)).plan(Setup())


def test_a_completion_without_its_search_is_its_answer_worked_out():
    (problem,) = task.problems("in_domain", "train", 1, 0)
    searched = "5+1=6 6+2=8 no maybe 5+2=7 7-1=6 yes. ans 5+2-1"
    assert task.FORMS.without_thinking(problem, searched) == "5+2=7 7-1=6 yes. ans 5+2-1"
    assert task.FORMS.answer(problem, searched) == "5+2-1"
    assert task.FORMS.without_thinking(problem, "5+1=6 6+2=8 no") is None


def test_the_answer_to_a_completion_without_one_is_a_right_expression():
    (problem,) = task.problems("in_domain", "train", 1, 0)
    expression = task.FORMS.answer(problem, "5+1=6 6+2=8 no")
    assert task.verify(problem, f"ans {expression}") == 1.0


@pytest.mark.parametrize(("size", "seen"), [(3, 3), (215, 40), (500, 40)])
def test_training_problems_are_scored_where_asked_each_once(size, seen):
    config = CountdownConfig(train_size=size, eval_size=40, score_seen=True)
    sets = CountdownDataset(config).sets
    assert list(sets.evaluation) == ["seen", "in_domain", "ood_large", "ood_four"]
    assert sets.evaluation["seen"] == sets.train[:seen]
    every = CountdownDataset(dataclasses.replace(config, eval_size=None)).sets
    assert len({task.identity_of(p) for p in every.evaluation["seen"]}) == min(size, 215)
    assert len(every.evaluation["seen"]) == min(size, 215)


def test_tuning_and_test_share_out_validation_and_evaluation():
    sizes = {}
    for family in task.FAMILIES:
        tuning, test = (set(task.pool_of(family, name)) for name in ("tuning", "test"))
        held, chosen = (set(task.identities(family, s)) for s in ("evaluation", "validation"))
        assert not tuning & test
        assert tuning | test == held | chosen
        assert chosen <= tuning
        sizes[family] = len(tuning), len(test)
    assert sizes == {"in_domain": (147, 102), "ood_large": (349, 192), "ood_four": (184, 118)}


def test_the_sets_of_a_split_are_its_own():
    sets = CountdownDataset(CountdownConfig(eval_split="test", eval_size=None)).sets
    for family, problems in sets.evaluation.items():
        found = sorted(map(task.identity_of, problems))
        assert found == list(task.pool_of(family, "test"))

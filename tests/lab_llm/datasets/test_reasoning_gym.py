"""reasoning-gym tasks as problem sets."""

import pytest
from lab_llm.datasets.components import ReasoningGymDataset
from lab_llm.datasets.config import ReasoningGymConfig
from labrun.errors import LabError
from labrun.plan import Setup


def dataset(**settings):
    small = {"task_params": {"max_terms": 3, "max_digits": 1}, "train_size": 40, "eval_size": 20}
    return ReasoningGymDataset(ReasoningGymConfig(**{**small, **settings}))


def questions(problems):
    return [problem.prompt[0]["content"] for problem in problems]


def test_training_and_evaluation_share_no_question():
    # One-digit sums of two terms, + and -: only 162 questions, so that sets drawn apart would meet.
    sets = dataset(
        task_params={"max_terms": 2, "max_digits": 1}, ood={"longer": {"max_terms": 3}}
    ).sets
    train, test = questions(sets.train), questions(sets.evaluation["in_domain"])
    assert len(set(train)) == 40
    assert len(set(test)) == 20
    assert not set(train) & {*test, *questions(sets.evaluation["longer"])}


def test_evaluation_stays_the_same_for_every_training_size():
    few, many = dataset(train_size=5).sets, dataset(train_size=60).sets
    assert few.evaluation == many.evaluation
    assert questions(few.train) == questions(many.train)[:5]


def test_the_reference_answer_passes_and_the_prompt_asks_for_the_tag():
    sets = dataset(ood={"words": {"task": "letter_counting"}}).sets
    assert list(sets.evaluation) == ["in_domain", "words"]
    for problem in [*sets.train, *sets.evaluation["in_domain"], *sets.evaluation["words"]]:
        assert problem.prompt[0]["content"].endswith(
            "\n\nPut your final answer inside <answer></answer>."
        )
        assert sets.verify(problem, f"I see. <answer>{problem.answer}</answer>") == 1.0
        assert sets.verify(problem, "<answer>none</answer>") == 0.0


def test_ood_settings_replace_some_of_the_tasks_own():
    sets = dataset(ood={"large": {"min_digits": 4, "max_digits": 4}}).sets
    expressions = [p.payload["entry"]["metadata"] for p in sets.evaluation["large"]]
    assert {entry["num_digits"] for entry in expressions} == {4}
    assert {entry["num_terms"] for entry in expressions} == {2, 3}


def test_the_seed_alone_chooses_the_problems():
    assert dataset().fingerprint() == dataset().fingerprint()
    assert dataset(seed=1).fingerprint() != dataset().fingerprint()
    # reasoning-gym's item i of seed s is item i-1 of seed s+1; here nearby seeds share little.
    zero, one = (set(questions(dataset(task_params={}, seed=s).sets.train)) for s in (0, 1))
    assert len(zero & one) < 5


def test_an_empty_instruction_adds_nothing():
    problem = dataset(instruction="").sets.train[0]
    assert problem.prompt[0]["content"] == problem.payload["entry"]["question"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"task": "chain_sums"}, "did you mean 'chain_sum'?"),
        ({"task_params": {"max_term": 3}}, "did you mean 'max_terms'?"),
        ({"task_params": {"min_terms": 5, "max_terms": 2}}, "chain_sum with {'min_terms': 5"),
        ({"task_params": {"seed": 3}}, "'seed' is set by dataset.seed"),
        ({"ood": {"in_domain": {}}}, "rename the OOD set"),
        ({"ood": {"a": {"task": 5}}}, "dataset.ood.a.task=5; allowed: a task's name"),
        ({"ood": {"x": {"task": "nothing_like_it"}}}, "no reasoning-gym task 'nothing_like_it'"),
    ],
)
def test_wrong_settings_are_refused_before_a_run(settings, message):
    with pytest.raises(LabError) as caught:
        dataset(**settings).plan(Setup())
    assert message in str(caught.value)


def test_a_task_with_too_few_questions_says_so():
    with pytest.raises(LabError, match="different questions for 'in_domain', not 500"):
        dataset(task_params={"max_terms": 2, "max_digits": 1}, eval_size=500).fingerprint()

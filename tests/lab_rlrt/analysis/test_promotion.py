"""Promoted tokens on hand-made probabilities, counts by hand, and a model against itself."""

import copy
import json
import math

import pytest
import torch
from lab_llm.datasets.countdown import CountdownDataset
from lab_llm.datasets.countdown_config import CountdownConfig
from lab_llm.policy.config import PolicyConfig
from lab_llm.policy.policy import Policy, load_policy
from lab_llm.problems import Problem
from lab_rlrt import objectives
from lab_rlrt.analysis.config import PromotionConfig
from lab_rlrt.analysis.promotion import evaluator as promotion
from lab_rlrt.analysis.promotion.places import Places, reduce_at, scores, token_table
from lab_rlrt.analysis.rollouts import Rollout
from labrun import LabError, Setup
from labrun.runs.context import RunContext
from labrun.runs.run_dir import RunDir

SMALL = {"max_problems": 3, "num_samples": 2, "max_new_tokens": 24, "only_last": False}


@pytest.fixture(scope="module")
def policy():
    return load_policy(PolicyConfig())


def context(path):
    return RunContext(
        run=RunDir(path), seed=0, attempt=1, devices=(), resume_from=None, keep_checkpoints=1
    )


def logs(rows):
    return torch.tensor(rows, dtype=torch.float64).log()


BASE = logs([[0.05, 0.9, 0.05], [0.05, 0.9, 0.05], [0.3, 0.3, 0.4], [0.1, 0.1, 0.8]])
TRAINED = logs([[0.6, 0.3, 0.1], [0.3, 0.6, 0.1], [0.2, 0.3, 0.5], [0.5, 0.4, 0.1]])


def test_promoted_is_what_comes_first_and_was_below_the_threshold():
    # row 0: token 0 leads, base .05 < .1; 1: token 1 leads, base .9; 2: token 2, base .4;
    # 3: token 0 leads, base .1, which is not below .1
    found = objectives.promoted(BASE, TRAINED, threshold=0.1 - 1e-9)
    assert found.nonzero().tolist() == [[0, 0]]
    wider = objectives.promoted(BASE, TRAINED, threshold=0.2)
    assert wider.nonzero().tolist() == [[0, 0], [3, 0]]


def test_sampled_logprobs_are_those_of_the_tokens():
    found = objectives.sampled_logprobs(BASE, torch.tensor([1, 0, 2, 2]))
    assert found.exp().tolist() == pytest.approx([0.9, 0.05, 0.4, 0.8])


def test_each_position_keeps_both_views_of_its_top_and_of_its_sampled_token():
    found = reduce_at(0.06)(BASE[:2], TRAINED[:2], torch.tensor([1, 2]))
    expected = [
        [0, math.log(0.05), math.log(0.6), math.log(0.9), math.log(0.3), 1],
        [1, math.log(0.9), math.log(0.6), math.log(0.05), math.log(0.1), 0],
    ]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))


def places(rollout, sampled, top, promoted, base=0.0005, trained=0.8):
    size = len(rollout)
    return Places(
        rollout=torch.tensor(rollout),
        sampled=torch.tensor(sampled),
        top=torch.tensor(top),
        base=torch.full((size,), base, dtype=torch.float64).log(),
        trained=torch.full((size,), trained, dtype=torch.float64).log(),
        base_sampled=torch.zeros(size),
        trained_sampled=torch.zeros(size),
        promoted=torch.tensor(promoted),
    )


HAND = places([0, 0, 0, 1, 3], [5, 5, 6, 6, 7], [5, 6, 6, 6, 7], [True, True, False, True, False])
"""Five tokens of rollouts 0, 1 and 3; promoted: 5 (sampled), 6 (not sampled), 6 (sampled)."""


def test_counts_are_a_problems_mean_over_its_rollouts():
    problem = Problem(id="p", prompt=(), answer="")
    four = [Rollout(i, i // 2, problem, (), (), "", 0.0) for i in range(4)]
    found = {s.metric: s for s in scores("set", HAND, four, num_samples=2)}
    # problem 0: rollouts with 2 and 1; problem 1: none
    assert found["promoted"].items == [1.5, 0.0]
    assert found["promoted"].value == 0.75
    assert found["promoted_sampled"].items == [1.0, 0.0]
    assert found["promoted_per_1000"].value == pytest.approx(600)
    assert found["promoted_per_1000"].n == 5
    assert found["promoted_sampled_per_1000"].value == pytest.approx(400)
    assert found["promoted_distinct"].value == 2


def test_tokens_are_listed_by_how_often_they_are_promoted():
    found = token_table(HAND, {5: "a", 6: "b", 7: "c"})
    assert [(r["token"], r["count"], r["sampled"]) for r in found] == [("b", 2, 1), ("a", 1, 1)]
    assert found[0]["base_probability"] == pytest.approx(0.0005)
    assert found[0]["probability"] == pytest.approx(0.8)


def run(path, policy, **settings):
    data = CountdownDataset(CountdownConfig(train_size=1, eval_size=6)).sets
    config = PromotionConfig(**{**SMALL, **settings})
    found = promotion.PromotionEvaluator(config).evaluate(context(path), policy, data)
    return {s.metric: s for s in found}


def test_a_model_promotes_nothing_over_itself_and_leaves_the_random_state(tmp_path, policy):
    state = torch.random.get_rng_state()
    found = run(tmp_path, policy)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert {s.value for s in found.values()} == {0.0}
    assert (tmp_path / "artifacts/promotion.png").stat().st_size > 10_000
    assert (tmp_path / "artifacts/promotion_tokens.jsonl").read_text() == ""


def test_a_token_that_was_raised_to_the_top_is_found_at_every_position(tmp_path, policy):
    raised = policy.tokenizer.encode(" hmm", add_special_tokens=False)[0]
    changed = Policy(copy.deepcopy(policy.model), policy.tokenizer)

    def raise_one(module, args, output):
        output[..., raised] += 200.0
        return output

    handle = changed.model.get_output_embeddings().register_forward_hook(raise_one)
    found = run(tmp_path, changed, max_problems=1)
    handle.remove()
    # the sampler multiplies by the weights itself, so that completions are the old model's
    text = (tmp_path / "artifacts/promotion_tokens.jsonl").read_text()
    (row,) = map(json.loads, text.splitlines())
    assert (row["token"], row["id"]) == (" hmm", raised)
    assert row["base_probability"] < 1e-3
    assert row["probability"] == pytest.approx(1.0)
    assert row["count"] == pytest.approx(
        found["promoted_per_1000"].value * found["promoted_per_1000"].n / 1000
    )
    assert row["count"] > 0.8 * found["promoted_per_1000"].n
    assert found["promoted_sampled"].value < found["promoted"].value


def test_a_base_model_of_another_vocabulary_is_refused(policy):
    other = copy.deepcopy(policy.tokenizer)
    other.add_tokens(["brandnew"])
    with pytest.raises(LabError, match=r"promotion\.base\.name='tiny' has another vocabulary"):
        promotion.check_vocabulary(Policy(policy.model, other), PromotionConfig())


def test_a_base_model_that_is_not_there_is_refused_before_the_run():
    config = PromotionConfig(base=PolicyConfig(name="./nowhere"))
    with pytest.raises(LabError, match=r"evaluator\.promotion\.base: .*no such directory"):
        promotion.PromotionEvaluator(config).plan(Setup())

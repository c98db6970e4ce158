"""Flip counting on a hand-made table; what is inserted where; intervals against known values."""

import json

import numpy as np
import pytest
from lab_llm.datasets.countdown import CountdownDataset
from lab_llm.datasets.countdown_config import CountdownConfig
from lab_llm.policy.config import PolicyConfig
from lab_llm.policy.policy import load_policy
from lab_llm.problems import Problem, ProblemSets
from lab_llm.text.prompts import encode
from lab_rlrt.analysis.config import ReflectionConfig
from lab_rlrt.analysis.reflection import evaluator as reflection
from lab_rlrt.analysis.reflection import figure as reflection_figure
from lab_rlrt.analysis.reflection import flips
from lab_rlrt.analysis.reflection.flips import ARMS, Outcomes
from lab_rlrt.analysis.rollouts import Rollout, check_sampling
from lab_rlrt.analysis.traces import Trace
from labrun import LabError, Setup
from labrun.runs.context import RunContext
from labrun.runs.run_dir import RunDir
from scipy import stats

PROBLEM = Problem(id="p", prompt=({"role": "user", "content": "?"},), answer="")
DATA = CountdownDataset(CountdownConfig(train_size=1, eval_size=6)).sets


@pytest.fixture(scope="module")
def policy():
    return load_policy(PolicyConfig())


def context(path):
    return RunContext(
        run=RunDir(path), seed=0, attempt=1, devices=(), resume_from=None, keep_checkpoints=1
    )


def row(before, *after, problem=0):
    return Outcomes(problem, bool(before), dict(zip(ARMS, map(bool, after), strict=True)))


TABLE = [row(1, 0, 1, 1, 1), row(1, 0, 0, 0, 1), row(0, 1, 1, 0, 1)]
"""Outcomes before, and after max, max_control, random and random_control."""


def traced(divergence, *, index=0, group=0, correct=True):
    size = len(divergence)
    completion = tuple(range(10, 10 + size))
    own = Rollout(index, group, PROBLEM, (1, 2), completion, "", float(correct))
    return Trace(own, ["t"] * size, [0.0] * size, [0.0] * size, divergence)


def test_flips_are_counted_against_the_outcome_before():
    found = flips.by_rollout(TABLE)
    assert found["flip_max"] == [1, 1, 1]
    assert found["flip_max_control"] == [0, 1, 1]
    assert found["flip_random"] == [0, 1, 0]
    assert found["flip_random_control"] == [0, 0, 1]
    assert found["to_wrong_max"] == [1, 1]
    assert found["to_wrong_random"] == [0, 1]
    assert found["to_correct_max"] == [1]
    assert found["to_correct_random"] == [0]
    assert found["flip_max_minus_random"] == [1, 0, 1]
    assert found["flip_max_minus_control"] == [1, 0, 0]
    assert found["flip_random_minus_control"] == [0, 1, -1]
    assert found["flip_excess"] == [1, -1, 1]


def test_rates_have_the_percentile_bootstrap_over_problems():
    # 40 problems of 4 rollouts, which flip all or not at all after the phrase at the maximum and
    # never else. Problems are of equal size, so that scipy's bootstrap of their means is the same.
    flipped = np.random.default_rng(1).random(40) < 0.3
    table = [
        row(1, not flip, 1, 1, 1, problem=7 * number)
        for number, flip in enumerate(flipped)
        for _ in range(4)
    ]
    found = flips.rates(table, np.random.default_rng(2))
    settings = {"method": "percentile", "n_resamples": 20_000, "rng": np.random.default_rng(3)}
    wanted = stats.bootstrap((flipped.astype(float),), np.mean, **settings).confidence_interval
    for name in ("flip_max", "to_wrong_max", "flip_max_minus_random", "flip_excess"):
        assert (found[name].value, found[name].n) == (pytest.approx(flipped.mean()), 160)
        ends = (found[name].low, found[name].high)
        assert ends == pytest.approx((wanted.low, wanted.high), abs=0.026)  # steps of 1/40
    assert (found["flip_random"].low, found["flip_random"].high) == (0.0, 0.0)


def test_the_flips_of_one_outcome_are_those_of_the_problems_that_have_it():
    # problem 0: correct, flipped and not; problem 1: wrong, both flipped. Drawn in whatever
    # number, each has the same mean.
    table = [
        row(1, 0, 1, 1, 1, problem=0),
        row(1, 1, 1, 1, 1, problem=0),
        row(0, 1, 0, 0, 0, problem=1),
        row(0, 1, 0, 0, 0, problem=1),
    ]
    found = flips.rates(table, np.random.default_rng(0))
    assert found["to_wrong_max"] == flips.Rate(0.5, 0.5, 0.5, 2)
    assert found["to_correct_max"] == flips.Rate(1.0, 1.0, 1.0, 2)
    assert found["flip_max"] == flips.Rate(0.75, 0.5, 1.0, 4)


def test_a_kind_of_flip_that_no_rollout_can_make_has_no_rate():
    assert "to_correct_max" not in flips.rates(TABLE[:2], np.random.default_rng(0))


def test_an_end_beyond_the_value_is_drawn_at_it():
    error = reflection_figure._error(flips.Rate(0.5, 0.625, 0.75, 3))
    assert error == [[0.0], [0.25]]


def test_the_phrase_goes_before_the_position_of_largest_divergence_and_a_random_other_one():
    others = set()
    for seed in range(40):
        made = reflection.interventions(
            [traced([0.1, 0.9, 0.9, 0.2])], (7, 8), np.random.default_rng(seed)
        )
        assert [arm.arm for arm in made] == list(ARMS)
        first, first_control, other, other_control = made
        assert first.kept == [10, 7, 8]
        assert first_control.kept == [10]
        prefix = list(range(10, 10 + other.position))
        assert other.kept == [*prefix, 7, 8]
        assert other_control.kept == prefix
        others.add(other.position)
    assert others == {0, 2, 3}


def test_what_is_sampled_follows_the_prompt_the_prefix_and_the_phrase(
    tmp_path, policy, monkeypatch
):
    asked = {}

    def complete(policy, prompts, *, num_samples, max_new_tokens, temperature, generator):
        asked.update({tuple(prompt): max_new_tokens for prompt in prompts})
        return [[*range(100, 100 + max_new_tokens)] for _ in prompts]

    monkeypatch.setattr(reflection, "complete", complete)
    arms = reflection.interventions([traced([0.1, 0.2, 0.9])], (7, 8), np.random.default_rng(0))
    config = ReflectionConfig(max_new_tokens=6, batch_size=4)
    found = reflection.continue_all(context(tmp_path), policy, arms, config)
    assert set(asked) == {(1, 2, *arm.kept) for arm in arms}
    # the largest lies at 2: 6 - 2 tokens are left, the phrase not counted
    assert found[0] == found[1] == [100, 101, 102, 103]
    assert len(found[2]) == len(found[3]) == 6 - arms[2].position


def test_verdicts_go_to_their_rollouts_and_arms():
    traces = [traced([1.0, 0.0]), traced([1.0, 0.0], index=1, group=5, correct=False)]
    arms = reflection.interventions(traces, (7,), np.random.default_rng(0))
    table = reflection.tabulate(arms, [True, False, False, True, True, True, False, False])
    assert table == [row(1, 1, 0, 0, 1), row(0, 1, 1, 0, 0, problem=5)]


def test_a_continuation_is_correct_with_the_whole_reward_and_a_reward_beyond_it_is_refused():
    rewards = {"a": 1.0, "b": 0.5, "c": 0.0, "d": 1.0, "e": 1.5}
    data = ProblemSets(train=[], evaluation={}, verify=lambda _, text: rewards[text])
    arms = reflection.interventions([traced([1.0, 0.0])], (7,), np.random.default_rng(0))
    assert reflection.verdicts(data, arms, [*"abcd"]) == [True, False, False, True]
    with pytest.raises(LabError, match=r"the verifier gave 1\.5 for p"):
        reflection.verdicts(data, arms, [*"abce"])


def test_rollouts_of_one_problem_are_a_note_and_no_score(tmp_path, policy):
    data = CountdownDataset(CountdownConfig(train_size=1, eval_size=6)).sets
    settings = {"max_problems": 4, "num_samples": 4, "max_new_tokens": 40, "max_rollouts": 3}
    evaluator = reflection.ReflectionEvaluator(ReflectionConfig(**settings, only_last=False))
    ctx = context(tmp_path)
    assert evaluator.evaluate(ctx, policy, data) == []
    (note,) = ctx.run.events()
    assert note["message"] == "reflection: rollouts of fewer than two mixed groups on in_domain"


def test_a_run_on_the_tiny_model_agrees_with_its_files(tmp_path, policy):
    data = CountdownDataset(CountdownConfig(train_size=1, eval_size=6)).sets
    settings = {"max_problems": 4, "num_samples": 4, "max_new_tokens": 40, "max_rollouts": 6}
    evaluator = reflection.ReflectionEvaluator(ReflectionConfig(**settings, only_last=False))
    scores = {s.metric: s for s in evaluator.evaluate(context(tmp_path), policy, data)}
    artifacts = tmp_path / "artifacts"
    lines = [*map(json.loads, (artifacts / "reflection.jsonl").read_text().splitlines())]
    assert [line["arm"] for line in lines] == [*ARMS] * 6
    for arm in ARMS:
        mine = [line for line in lines if line["arm"] == arm]
        flipped = [m["after"] != m["before"] for m in mine]
        assert scores[f"flip_{arm}"].value == pytest.approx(sum(flipped) / 6)
        assert scores[f"flip_{arm}"].items == ()  # other runs have other rollouts
    problems = {problem.id: problem for problem in data.evaluation["in_domain"]}
    for line in lines:
        assert line["after"] == (data.verify(problems[line["id"]], line["completion"]) == 1.0)
        assert ("no maybe" in line["completion"]) or line["arm"].endswith("control")
    written = json.loads((artifacts / "reflection.json").read_text())
    rates = written["rates"]
    assert written["problems"] == len({line["id"] for line in lines}) > 1
    assert rates["flip_max"]["value"] == scores["flip_max"].value
    assert (artifacts / "reflection.png").stat().st_size > 10_000


def test_rows_are_sampled_together_as_far_as_the_longest_fits():
    """Prefixes of 20, 25 and 610 tokens, of which 600, 500 and 10 are to go: 1,024 positions."""
    sizes = [(20, 600), (25, 500), (610, 10)]
    assert [*reflection.parts(sizes, most=8, room=1024)] == [slice(0, 2), slice(2, 3)]
    assert [*reflection.parts(sizes, most=8, room=1210)] == [slice(0, 3)]
    assert [*reflection.parts(sizes, most=8, room=None)] == [slice(0, 3)]
    assert [*reflection.parts(sizes, most=1, room=1210)] == [slice(i, i + 1) for i in range(3)]
    assert [*reflection.parts([(20, 600)], most=8, room=100)] == [slice(0, 1)]


def test_continuations_far_apart_fit_where_each_fits_alone(tmp_path, policy):
    """Position 0 and position 590 of 600 tokens: together they would be more than the model's."""
    problem = CountdownDataset(CountdownConfig(train_size=1, eval_size=1)).sets.train[0]
    prompt = tuple(encode(policy.tokenizer, problem.prompt))
    completion = tuple(range(10, 30)) * 30
    own = Rollout(0, 0, problem, prompt, completion, "", 1.0)
    arms = [
        reflection.Intervention(own, "max", 0, ()),
        reflection.Intervention(own, "random", 590, ()),
    ]
    config = ReflectionConfig(max_new_tokens=600)
    found = reflection.continue_all(context(tmp_path), policy, arms, config)
    assert 0 < len(found[0]) <= 600
    assert 0 < len(found[1]) <= 10


def test_a_teacher_that_could_not_read_two_rollouts_is_refused_before_work(policy):
    said = (
        r"evaluator\.reflection\.max_new_tokens=510: the teacher reads the prompt of .* tokens, "
        r"with two rollouts, which is more than the model's 1024; set (\d+) at most"
    )
    with pytest.raises(LabError, match=said) as caught:
        check_sampling(policy, DATA, ReflectionConfig(max_new_tokens=510), section="reflection")
    most = int(str(caught.value).split("set ")[1].split()[0])
    check_sampling(policy, DATA, ReflectionConfig(max_new_tokens=most), section="reflection")


def test_a_phrase_is_a_tokens_own_and_must_have_some(policy):
    ids = reflection.phrase_ids(policy, " no maybe")
    assert policy.tokenizer.decode(ids) == " no maybe"
    assert len(ids) == 2


def test_one_rollout_a_group_is_refused():
    with pytest.raises(LabError, match=r"evaluator\.reflection\.num_samples=1"):
        reflection.ReflectionEvaluator(ReflectionConfig(num_samples=1)).plan(Setup())

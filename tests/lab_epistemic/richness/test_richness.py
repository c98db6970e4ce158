"""Study 1 on the tiny model: what it asks, writes, reads again and refuses."""

import copy
import dataclasses
import json
from collections import defaultdict
from contextlib import contextmanager

import pytest
from lab_epistemic.richness import evaluator as richness
from lab_epistemic.richness import responses as richness_responses
from lab_epistemic.richness.config import LEVELS, RichnessConfig
from lab_epistemic.richness.evaluator import RichnessEvaluator, longest_needed
from lab_llm.datasets.components import RowsDataset
from lab_llm.datasets.config import RowsConfig
from lab_llm.datasets.countdown import CountdownDataset
from lab_llm.datasets.countdown_config import CountdownConfig
from lab_llm.evaluation.accuracy import AccuracyEvaluator
from lab_llm.evaluation.config import AccuracyConfig
from lab_llm.policy.config import PolicyConfig
from lab_llm.policy.engine import Sampling
from lab_llm.policy.policy import load_policy
from lab_llm.problems import MARKED, Problem, ProblemSets
from lab_llm.text.chat_template import THINKING
from lab_llm.text.prompts import COUNTDOWN_TEMPLATE
from labrun import LabError, Plan, Setup
from labrun.config.experiments import compose
from labrun.errors import PreemptedError
from labrun.results.statistics.intervals import t_interval
from labrun.runs import run_dir
from labrun.runs.context import RunContext
from labrun.runs.run_dir import RunDir
from setups import setup_of

SMALL = RichnessConfig(
    pool_size=12, num_probes=4, max_passes=3, num_problems=5, num_samples=4, only_last=False
)


@pytest.fixture(scope="module")
def policy():
    return load_policy(PolicyConfig())


@pytest.fixture(scope="module")
def dataset():
    return CountdownDataset(CountdownConfig(eval_size=12))


def context(path):
    return RunContext(
        run=RunDir(path), seed=0, attempt=1, devices=(), resume_from=None, keep_checkpoints=1
    )


def lines(path, stage):
    text = (path / "artifacts" / "richness" / f"{stage}.jsonl").read_text()
    return [*map(json.loads, text.splitlines())]


@pytest.fixture(scope="module")
def done(tmp_path_factory, policy, dataset):
    """One evaluation: its folder and its scores by (level, metric); read it only."""
    path = tmp_path_factory.mktemp("richness")
    policy.model.train()
    found = RichnessEvaluator(SMALL).evaluate(context(path), policy, dataset.sets)
    assert policy.model.training
    policy.model.eval()
    return path, {(score.task, score.metric): score for score in found}


def test_kept_problems_are_the_first_in_the_window_with_a_correct_probe_as_solution(done, dataset):
    path, _ = done
    sets = dataset.sets
    problems = {problem.id: problem for problem in sets.train}
    right = defaultdict(list)
    for line in lines(path, "probe"):
        right[line["id"]] += [line["completion"]] * (line["correct"] == 1.0)
        assert sets.verify(problems[line["id"]], line["completion"]) == line["correct"]
    inside = [p.id for p in sets.train[:12] if 1 <= len(right[p.id]) <= 3][:5]
    asked = lines(path, "solution")
    assert [line["id"] for line in asked[::4]] == inside
    assert all(line["context"] in right[line["id"]] for line in asked)
    assert {line["context"] for line in lines(path, "none")} == {None}


def test_each_level_cuts_the_same_solution_down(done, dataset):
    path, _ = done
    forms = dataset.sets.forms
    problems = {problem.id: problem for problem in dataset.sets.train}
    full = {line["id"]: line["context"] for line in lines(path, "solution")}
    for level in ("answer", "without_thinking"):
        for line in lines(path, level):
            cut = getattr(forms, level)(problems[line["id"]], full[line["id"]])
            assert line["context"] == cut


def test_rounds_are_chained(done):
    path, scores = done
    before = {line["id"]: line["context"] for line in lines(path, "solution")}
    right, lost = {name: [text] for name, text in before.items()}, set()
    for stage in ("round_1", "round_2", "guided"):
        asked = lines(path, stage)
        shown = {line["id"]: line["context"] for line in asked}
        for name, text in shown.items():
            assert text in (right[name] or [before[name]])
        lost |= {name for name, found in right.items() if not found}
        before = shown
        right = {
            name: [x["completion"] for x in asked if x["id"] == name and x["correct"] == 1.0]
            for name in shown
        }
    assert scores["guided", "num_lost"].value == len(lost)


def test_a_problem_without_a_correct_response_keeps_its_last_context(tmp_path, policy, dataset):
    sets, calls = dataset.sets, []

    def only_probes(problem, text):
        calls.append(text)
        return sets.verify(problem, text) if len(calls) <= 12 * 4 else 0.0

    config = dataclasses.replace(SMALL, levels=("guided", "solution"))
    given = dataclasses.replace(sets, verify=only_probes)
    found = RichnessEvaluator(config).evaluate(context(tmp_path), policy, given)
    values = {(score.task, score.metric): score for score in found}
    assert values["guided", "num_lost"].value == values["guided", "num_problems"].value == 5
    full = [line["context"] for line in lines(tmp_path, "solution")]
    assert [line["context"] for line in lines(tmp_path, "guided")] == full


def test_scores_are_those_of_the_files(done):
    path, scores = done
    for level in LEVELS:
        asked = lines(path, level)
        ids = [line["id"] for line in asked[::4]]
        for metric, key in (("accuracy", "correct"), ("completion_length", "tokens")):
            means = [sum(line[key] for line in asked if line["id"] == name) / 4 for name in ids]
            assert scores[level, metric].value == pytest.approx(sum(means) / len(ids))
        assert scores[level, "num_problems"].value == len(ids)
        assert scores[level, "truncated"].value == 0
    assert scores["without_thinking", "num_unmarked"].value == 0
    told = json.loads((path / "artifacts" / "richness.json").read_text())
    assert told["levels"]["solution"]["metrics"]["accuracy"]["mean"] == pytest.approx(
        scores["solution", "accuracy"].value
    )
    assert sum(told["pass_counts"].values()) == 12
    assert (path / "artifacts" / "richness.png").stat().st_size > 10_000


def test_stages_sample_as_configured_each_with_a_seed_of_its_own(
    tmp_path, policy, dataset, monkeypatch
):
    opened, asked = richness.open_engine, []

    @contextmanager
    def recording(*args, **kwargs):
        with opened(*args, **kwargs) as engine:
            sample = engine.sample

            def recorded(prompts, sampling, *, seed, **rest):
                asked.append((sampling, seed))
                return sample(prompts, sampling, seed=seed, **rest)

            engine.sample = recorded
            yield engine

    monkeypatch.setattr(richness, "open_engine", recording)
    settings = {"temperature": 0.9, "top_p": 0.95, "top_k": 20}
    config = dataclasses.replace(SMALL, levels=("none", "solution"), num_samples=3, **settings)
    RichnessEvaluator(config).evaluate(context(tmp_path), policy, dataset.sets)
    end = policy.tokenizer.eos_token_id
    shared = {**settings, "max_new_tokens": 128, "batch_size": 256, "end_token_ids": (end,)}
    expected = [Sampling(num_samples=n, **shared) for n in (4, 3, 3)]
    assert [sampling for sampling, _ in asked] == expected
    assert len({seed for _, seed in asked}) == 3


def test_a_solution_without_marks_leaves_its_problem_out_of_the_level(
    tmp_path, policy, dataset, done
):
    first = lines(done[0], "none")[0]["id"]
    sets = dataset.sets
    forms = dataclasses.replace(
        sets.forms, without_thinking=lambda p, _: None if p.id == first else p.answer
    )
    config = dataclasses.replace(SMALL, levels=("none", "without_thinking"))
    given = dataclasses.replace(sets, forms=forms)
    found = RichnessEvaluator(config).evaluate(context(tmp_path), policy, given)
    values = {(score.task, score.metric): score.value for score in found}
    assert values["without_thinking", "num_unmarked"] == 1
    right = {
        level: {
            name: sum(x["correct"] for x in lines(tmp_path, level) if x["id"] == name) / 4
            for name in dict.fromkeys(x["id"] for x in lines(tmp_path, level))
        }
        for level in config.levels
    }
    marked = right["without_thinking"]
    assert [*right["none"]] == [first, *marked]
    less = [accuracy - right["none"][name] for name, accuracy in marked.items()]
    shifted = [a - b for a, b in zip(marked.values(), right["none"].values(), strict=False)]
    told = json.loads((tmp_path / "artifacts/richness.json").read_text())
    paired = told["levels"]["without_thinking"]["less_none"]["accuracy"]
    expected = t_interval(less)
    assert expected.half_width != pytest.approx(t_interval(shifted).half_width)
    assert paired["mean"] == pytest.approx(expected.mean)
    assert paired["high"] - paired["low"] == pytest.approx(2 * expected.half_width)


def test_a_context_that_is_cut_in_a_round_counts_as_truncated(tmp_path, policy, dataset):
    """The dataset's long solution guides the first round, its own short response the level."""
    sets = dataset.sets
    long = [dataclasses.replace(p, solution="5+2=7 " * 30 + p.answer) for p in sets.train[:2]]
    config = RichnessConfig(
        pool_size=2,
        num_probes=1,
        num_samples=1,
        min_passes=0,
        max_passes=1,
        solution_source="dataset",
        levels=("guided",),
        rounds=1,
        max_new_tokens=900,
        only_last=False,
    )
    given = dataclasses.replace(sets, train=long, verify=lambda *_: 1.0)
    found = RichnessEvaluator(config).evaluate(context(tmp_path), policy, given)
    values = {(score.task, score.metric): score.value for score in found}
    assert values["guided", "truncated"] == 2
    assert not any(line["truncated"] for line in lines(tmp_path, "guided"))


def test_only_the_last_evaluation_works_unless_told_otherwise(tmp_path, policy, dataset):
    run = run_dir.create(compose(["plugin=epistemic", "max_steps=5"]), root=tmp_path)
    ctx = dataclasses.replace(context(tmp_path), run=run)
    ctx.step = 4
    config = dataclasses.replace(SMALL, only_last=True, levels=("none",))
    assert RichnessEvaluator(config).evaluate(ctx, policy, dataset.sets) == []
    ctx.step = 5
    assert RichnessEvaluator(config).evaluate(ctx, policy, dataset.sets)


def test_a_later_attempt_reads_what_an_earlier_one_sampled(done, policy, dataset, monkeypatch):
    path, scores = done

    def sample(*_):
        raise AssertionError("sampled again")

    monkeypatch.setattr(richness_responses.Interview, "_sample", sample)
    again = RichnessEvaluator(SMALL).evaluate(context(path), policy, dataset.sets)
    assert {(score.task, score.metric): score for score in again} == scores
    later = context(path)
    later.step = 1
    with pytest.raises(AssertionError, match="sampled again"):
        RichnessEvaluator(SMALL).evaluate(later, policy, dataset.sets)


def test_a_stop_comes_before_a_stage(tmp_path, policy, dataset):
    ctx = context(tmp_path)
    ctx.should_stop = True
    with pytest.raises(PreemptedError, match="'probe'"):
        RichnessEvaluator(SMALL).evaluate(ctx, policy, dataset.sets)


def test_a_window_without_problems_names_what_was_found_and_keeps_the_probes(tmp_path, policy):
    sets = dataclasses.replace(CountdownDataset(CountdownConfig()).sets, verify=lambda *_: 1.0)
    config = dataclasses.replace(SMALL, pool_size=3, num_probes=2, max_passes=1)
    with pytest.raises(LabError, match=r"problems by pass count: 3 with 2; set .*min_passes"):
        RichnessEvaluator(config).evaluate(context(tmp_path), policy, sets)
    assert len(lines(tmp_path, "probe")) == 6


def test_contexts_are_cut_where_the_model_has_no_room(tmp_path, policy, dataset):
    """The model takes 1,024 tokens; 960 are the response's, so that 64 are left for the prompt."""
    sets = dataset.sets
    long = [dataclasses.replace(p, solution="5+2=7 " * 30 + p.answer) for p in sets.train[:2]]
    config = RichnessConfig(
        pool_size=2,
        num_probes=1,
        num_samples=1,
        min_passes=0,
        max_passes=1,
        solution_source="dataset",
        levels=("none", "solution"),
        max_new_tokens=960,
        only_last=False,
    )
    cut = dataclasses.replace(sets, train=long)
    found = RichnessEvaluator(config).evaluate(context(tmp_path), policy, cut)
    values = {(score.task, score.metric): score.value for score in found}
    assert values["solution", "truncated"] == 2
    assert values["none", "truncated"] == 0
    assert all(line["truncated"] for line in lines(tmp_path, "solution"))
    assert all(long[0].solution.startswith(x["context"]) for x in lines(tmp_path, "solution")[:1])


def test_the_room_is_what_the_study_can_need(policy):
    # "ab" as prompt: measured with the empty template; 128 new, contexts of up to twice 128
    problem = Problem(id="1", prompt=({"role": "user", "content": "nums 1 1 make 2"},), answer="2")
    empty = len(
        policy.tokenizer.apply_chat_template(
            [{"role": "user", "content": "nums 1 1 make 2\nref: "}],
            add_generation_prompt=True,
            return_dict=False,
        )
    )
    found = longest_needed(policy, [problem], RichnessConfig(), template=COUNTDOWN_TEMPLATE)
    assert found == empty + 2 * 128 + 128
    config = RichnessConfig(max_new_tokens=1000)
    assert longest_needed(policy, [problem], config, template=COUNTDOWN_TEMPLATE) == 1024


def refusal(config, sets=None):
    evaluator = RichnessEvaluator(config)
    setup = Setup() if sets is None else setup_of(Given(sets))
    with pytest.raises(LabError) as caught:
        evaluator.plan(setup)
    return str(caught.value)


@dataclasses.dataclass
class Given:
    """A data set that is there."""

    sets: ProblemSets

    def plan(self, setup):
        return Plan(offers=self.sets)

    def load(self, ctx):
        return self.sets

    def fingerprint(self):
        return ""


def test_settings_that_cannot_work_are_refused_before_any_work():
    assert "min_passes=5, max_passes=4" in refusal(RichnessConfig(min_passes=5))
    assert "max_passes=4, num_probes=2" in refusal(RichnessConfig(num_probes=2))
    assert "solution_source=dataset" in refusal(RichnessConfig(min_passes=0))
    assert "name each once" in refusal(RichnessConfig(levels=("none", "none")))
    assert "evaluator.richness.template" in refusal(RichnessConfig(template="{prompt}"))
    facts = RichnessEvaluator(RichnessConfig()).plan(Setup()).facts
    assert facts == {"probes": 1600, "responses_at_most": 5600}


def test_data_that_lack_something_are_refused_before_any_work(dataset):
    sets = dataset.sets
    RichnessEvaluator(RichnessConfig(pool="ood_four")).plan(setup_of(Given(sets)))
    assert "did you mean 'ood_four'" in refusal(RichnessConfig(pool="ood_for"), sets)
    bare = [dataclasses.replace(problem, solution=None) for problem in sets.train]
    source = RichnessConfig(solution_source="dataset")
    assert "200 of 200 problems" in refusal(source, dataclasses.replace(sets, train=bare))
    assert "none of the 200" in refusal(source, dataclasses.replace(sets, forms=MARKED))
    assert "has no problems" in refusal(RichnessConfig(), dataclasses.replace(sets, train=[]))


def test_a_model_that_cannot_be_asked_is_refused_before_the_first_step(policy, dataset):
    sets = dataset.sets
    RichnessEvaluator(SMALL).plan(Setup(model=policy, data=sets))
    long = RichnessEvaluator(dataclasses.replace(SMALL, max_new_tokens=1020))
    with pytest.raises(LabError, match=r"evaluator\.richness\.max_new_tokens=1020: with"):
        long.plan(Setup(model=policy, data=sets))
    marked = dataclasses.replace(sets, forms=MARKED)
    with pytest.raises(LabError, match="hold no <think>"):
        RichnessEvaluator(SMALL).plan(Setup(model=policy, data=marked))


@pytest.mark.parametrize("thinking", [True, False])
def test_a_model_that_is_told_not_to_think_marks_no_thinking(thinking, policy, dataset):
    sets = dataclasses.replace(dataset.sets, forms=MARKED)
    tokenizer = copy.deepcopy(policy.tokenizer)
    thinks = "{% if enable_thinking %}<think>{% endif %}" + str(tokenizer.chat_template)
    tokenizer.chat_template = THINKING[thinking] + thinks
    evaluator = RichnessEvaluator(SMALL)
    told = dataclasses.replace(policy, tokenizer=tokenizer)
    if thinking:
        evaluator.plan(Setup(model=told, data=sets))
        return
    with pytest.raises(LabError, match=r"or model\.thinking=false"):
        evaluator.plan(Setup(model=told, data=sets))


def test_a_line_separator_in_a_response_is_read_again(tmp_path, dataset):
    (problem, *_) = dataset.sets.train
    one = richness_responses.Response("x\u2028y\x85z", 3, 1.0)
    asked = [richness_responses.Asked(problem, None, False, [one])]
    path = tmp_path / "none.jsonl"
    path.write_text(richness_responses._lines(asked, step=0), encoding="utf-8")
    assert richness_responses._read(path, 0) == [[one]]


def test_a_model_that_knows_no_thinking_is_refused_before_it_is_asked(tmp_path, policy, dataset):
    sets = dataclasses.replace(dataset.sets, forms=MARKED)
    with pytest.raises(LabError, match="hold no <think>"):
        RichnessEvaluator(SMALL).evaluate(context(tmp_path), policy, sets)
    assert not (tmp_path / "artifacts").exists()


def test_a_set_with_a_levels_name_is_refused_beside_another_evaluator(tmp_path):
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"prompt": "1+1?", "answer": "2"}\n' * 2)
    given = RowsDataset(RowsConfig(path=str(rows), evaluation={"answer": str(rows)})).sets
    evaluator = RichnessEvaluator(dataclasses.replace(SMALL, pool_size=1, levels=("answer",)))
    said = "evaluation set 'answer' has the name of a level of evaluator.richness"
    scoring = AccuracyEvaluator(AccuracyConfig())
    with pytest.raises(LabError, match=said):
        evaluator.plan(Setup(data=given, evaluators={"accuracy": scoring, "richness": evaluator}))
    evaluator.plan(Setup(data=given, evaluators={"curves": object(), "richness": evaluator}))

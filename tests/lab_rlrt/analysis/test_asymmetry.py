"""Both asymmetries against plain forward passes; the page, the layout and the table by value."""

import dataclasses
import json
import math
import re

import pytest
import torch
from lab_llm.datasets.countdown import CountdownDataset
from lab_llm.datasets.countdown_config import CountdownConfig
from lab_llm.policy.config import PolicyConfig
from lab_llm.policy.policy import load_policy
from lab_llm.problems import Problem, ProblemSets
from lab_llm.text.prompts import COUNTDOWN_TEMPLATE, encode, with_solution
from lab_llm.training.teacher import GradedRollouts
from lab_rlrt.analysis import rollouts
from lab_rlrt.analysis.asymmetry import evaluator as asymmetry
from lab_rlrt.analysis.asymmetry import figure as asymmetry_figure
from lab_rlrt.analysis.asymmetry import page as html
from lab_rlrt.analysis.config import AsymmetryConfig
from lab_rlrt.analysis.rollouts import Rollout
from lab_rlrt.analysis.traces import Trace, trace
from labrun import LabError, Setup
from labrun.config.components import build
from labrun.config.experiments import compose
from labrun.experiment import ResourcesConfig
from labrun.runs.context import RunContext
from labrun.runs.run_dir import RunDir

SETTINGS = {"max_problems": 4, "num_samples": 4, "max_new_tokens": 40, "min_count": 1}


@pytest.fixture(scope="module")
def policy():
    return load_policy(PolicyConfig())


@pytest.fixture(scope="module")
def data():
    return CountdownDataset(CountdownConfig(train_size=1, eval_size=6)).sets


def context(path):
    path.mkdir(exist_ok=True)
    return RunContext(
        run=RunDir(path), seed=0, attempt=1, devices=(), resume_from=None, keep_checkpoints=1
    )


def rollout(*, group=0, correct=True, completion=(1, 2), text="?"):
    problem = Problem(id=f"p{group}", prompt=({"role": "user", "content": text},), answer="")
    return Rollout(0, group, problem, (0,), completion, "", float(correct))


def made(student, teacher, divergence=None, tokens=None, **about):
    names = tokens or [f"t{i}" for i in range(len(student))]
    about.setdefault("completion", tuple(range(len(student))))
    return Trace(rollout(**about), names, student, teacher, divergence or [0.0] * len(student))


def distributions(policy, prompt, completion, temperature):
    """Log-probabilities (T, V) at each token of the completion, by one whole forward pass."""
    with torch.no_grad():
        logits = policy.model(torch.tensor([[*prompt, *completion]])).logits[0]
    predicting = logits[len(prompt) - 1 : -1].double() / temperature
    return predicting.log_softmax(-1)


def test_both_asymmetries_equal_those_of_plain_forward_passes(tmp_path, policy, data):
    config = AsymmetryConfig(**SETTINGS, temperature=1.3, batch_size=3, chunk_size=7)
    ctx = context(tmp_path)
    found = rollouts.sample_groups(ctx, policy, data, config)
    chosen = rollouts.mixed_groups(found)
    assert {r.correct for r in chosen} == {True, False}
    group = GradedRollouts([r.text for r in found], [r.reward for r in found], 4)
    for item in trace(ctx, policy, found, chosen, config):
        own = item.rollout
        sibling = group.correct_sibling(own.index, lambda n: ctx.rng("analysis", "teacher", n))
        given = with_solution(own.problem.prompt, sibling, COUNTDOWN_TEMPLATE)
        tokens = torch.tensor(own.completion)[:, None]
        student = distributions(policy, own.prompt, own.completion, 1.3)
        teacher = distributions(policy, encode(policy.tokenizer, given), own.completion, 1.3)
        difference = (student.gather(1, tokens) - teacher.gather(1, tokens))[:, 0]
        kl = (student.exp() * (student - teacher)).sum(1)
        assert item.asymmetry == pytest.approx(difference.tolist(), abs=2e-4)
        assert item.divergence == pytest.approx(kl.tolist(), abs=2e-4)
        assert item.student == pytest.approx(student.gather(1, tokens)[:, 0].tolist(), abs=2e-4)
        assert "".join(item.tokens).removesuffix("<|im_end|>") == own.text


def test_every_rank_looks_at_the_rollouts_of_the_first(tmp_path, policy, data, monkeypatch):
    config = AsymmetryConfig(**SETTINGS)
    firsts = rollouts.sample_groups(context(tmp_path), policy, data, config)
    given = []
    monkeypatch.setattr(rollouts, "gather_objects", lambda mine: given.append(mine) or [firsts])
    second = dataclasses.replace(context(tmp_path), rank=1, world_size=2)
    assert rollouts.sample_groups(second, policy, data, config) is firsts
    assert given == [[]]


def test_groups_lie_one_after_another_and_only_mixed_ones_are_kept(tmp_path, policy, data):
    found = rollouts.sample_groups(context(tmp_path), policy, data, AsymmetryConfig(**SETTINGS))
    assert [r.index for r in found] == list(range(16))
    assert [r.group for r in found] == [i // 4 for i in range(16)]
    problems = data.evaluation["in_domain"]
    assert [r.problem for r in found] == [problems[i // 4] for i in range(16)]
    assert [r.reward for r in found] == [data.verify(r.problem, r.text) for r in found]
    rewards = {g: [r.correct for r in found if r.group == g] for g in range(4)}
    wanted = [r for r in found if len(set(rewards[r.group])) == 2]
    assert rollouts.mixed_groups(found) == wanted


def test_scores_files_and_random_state(tmp_path, policy, data):
    state = torch.random.get_rng_state()
    evaluator = asymmetry.AsymmetryEvaluator(AsymmetryConfig(**SETTINGS))
    scores = evaluator.evaluate(context(tmp_path), policy, data)
    again = evaluator.evaluate(context(tmp_path / "again"), policy, data)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert scores == again
    assert {s.task for s in scores} == {"in_domain"}
    assert {score.items for score in scores} == {()}  # other runs have other rollouts
    artifacts = tmp_path / "artifacts"
    assert (artifacts / "asymmetry.png").stat().st_size > 10_000
    table = list(map(json.loads, (artifacts / "asymmetry_tokens.jsonl").read_text().splitlines()))
    assert [row["mean"] for row in table] == sorted((row["mean"] for row in table), reverse=True)
    assert (artifacts / "asymmetry.html").read_text().count("<article>") > 0


def test_scores_average_over_tokens_and_then_over_rollouts():
    traces = [
        made([0.0, -1.0], [-1.0, -1.0], [0.2, 0.4]),  # D: 1, 0
        made([0.0], [-3.0], [0.5]),  # D: 3
        made([-2.0, -1.0], [-1.0, -2.0], [0.1, 0.3], correct=False),  # D: -1, 1
    ]
    found = {s.metric: s for s in asymmetry.scores("set", traces)}
    assert found["information_asymmetry_correct"].n == 2
    assert found["information_asymmetry_correct"].value == 1.75
    assert found["information_asymmetry_wrong"].n == 1
    assert found["information_asymmetry_wrong"].value == 0.0
    assert found["position_asymmetry_correct"].value == pytest.approx(0.4)
    assert found["position_asymmetry_wrong"].value == pytest.approx(0.2)
    assert found["positive_share_correct"].value == 0.75
    assert found["positive_share_wrong"].value == 0.5


def test_no_mixed_group_is_a_note_and_no_score(tmp_path, policy, data):
    never = ProblemSets(train=[], evaluation=data.evaluation, verify=lambda *_: 0.0)
    ctx = context(tmp_path)
    evaluator = asymmetry.AsymmetryEvaluator(AsymmetryConfig(**SETTINGS))
    assert evaluator.evaluate(ctx, policy, never) == []
    (note,) = ctx.run.events()
    assert note["message"] == "asymmetry: no group of in_domain has correct and wrong rollouts"


def test_tokens_are_listed_by_mean_asymmetry_over_all_their_occurrences():
    traces = [
        made([0.0, 0.0, 0.0], [-1.0, -4.0, -2.0], completion=(7, 8, 7), tokens=["a", "b", "a"]),
        made([0.0], [-6.0], completion=(7,), tokens=["a"], correct=False),
    ]
    row = {"token": "a", "id": 7, "count": 3, "mean": 3.0, "mean_correct": 1.5, "mean_wrong": 6.0}
    assert asymmetry.token_table(traces, min_count=2) == [row]
    both = asymmetry.token_table(traces, min_count=1)
    assert [(r["token"], r["mean"], r["mean_wrong"]) for r in both] == [
        ("b", 4.0, None),
        ("a", 3.0, 6.0),
    ]


def test_shown_rollouts_are_a_correct_and_a_wrong_one_of_each_group():
    traces = [
        made([0.0], [0.0], group=g, correct=c)
        for g, c in ((0, False), (0, True), (0, True), (3, True), (3, False))
    ]
    assert asymmetry.balanced(traces, 3) == [traces[1], traces[0], traces[3]]
    assert asymmetry.balanced(traces, 9) == [traces[1], traces[0], traces[3], traces[4]]


def test_the_page_escapes_texts_and_names_each_tokens_numbers():
    student, teacher = math.log(0.5), math.log(0.25)
    item = made(
        [student, student], [teacher, student], [0.75, 0.0], ["<b>&", "\n"], text="1 < 2 & <i>"
    )
    text = html.page([item], title="<run>")
    assert "<b>" not in text
    assert "<i>" not in text
    assert "<run>" not in text
    assert "1 &lt; 2 &amp; &lt;i&gt;" in text
    numbers = "D_t +0.693&#10;Dbar_t 0.750&#10;p_S 0.5&#10;p_T 0.25"
    assert f'data-numbers="{numbers}">&lt;b&gt;&amp;</span>' in text
    assert ">↵\n</span>" in text
    assert "correct" in text


def test_the_page_loads_nothing_and_closes_what_it_opens():
    text = html.page([made([0.0, -1.0], [-1.0, 0.0])], title="t")
    assert re.findall(r"(?:src|href|url|@import|https?:)", text) == []
    for tag in ("html", "head", "body", "header", "article", "p", "span", "div", "style"):
        assert len(re.findall(rf"<{tag}[ >]", text)) == text.count(f"</{tag}>"), tag


def test_colours_diverge_around_zero_and_are_strongest_at_the_end_of_the_scale():
    # |D| is 2 everywhere but at the 0, so that the scale ends at 2
    item = made([0.0, -2.0, 0.0, -1.0], [-2.0, 0.0, 0.0, 0.0])
    text = html.page([item], title="t")
    shades = re.findall(r'style="background:(rgba[^"]+)" data', text)
    assert shades[0] == "rgba(217,95,2,0.80)"
    assert shades[1] == "rgba(31,119,180,0.80)"
    assert shades[2].endswith(",0.00)")
    assert shades[3].startswith("rgba(31,119,180,0.4")
    assert "<span>-2.00</span><span>0</span><span>+2.00</span>" in text


def test_lines_break_between_tokens_and_after_newlines():
    placed = list(asymmetry_figure.laid_out(["abc", "de", "f\n", "g"], columns=5))
    assert placed == [(0, 0, "abc", 0), (0, 3, "de", 1), (1, 0, "f↵", 2), (2, 0, "g", 3)]
    assert list(asymmetry_figure.laid_out(["abcdefg"], columns=5)) == [(0, 0, "abcde", 0)]
    most = list(asymmetry_figure.laid_out(["abc"] * 20, columns=5))
    assert len(most) == asymmetry_figure.MOST_LINES


def test_a_title_is_no_formula():
    traces = [made([0.0, -1.0], [-1.0, 0.0]), made([0.0], [-1.0], correct=False)]
    figure = asymmetry_figure.draw(traces, traces, title=r"set $\no{formula$")
    figure.draw_without_rendering()  # where text is read as a formula, this one has an error
    assert figure.get_suptitle() == r"Information asymmetry: set $\no{formula$"


def test_a_reward_beyond_its_range_is_refused(tmp_path, policy, data):
    twice = ProblemSets(train=[], evaluation=data.evaluation, verify=lambda *_: 2.0)
    with pytest.raises(LabError, match=r"the verifier gave 2\.0 for .*; allowed: a number from 0"):
        rollouts.sample_groups(context(tmp_path), policy, twice, AsymmetryConfig(**SETTINGS))


def test_positions_are_binned_by_the_share_of_the_rollout():
    # (t + 1/2)/T of four tokens in two halves: .125 .375 | .625 .875; of one token: .5
    found = asymmetry_figure.by_position([[1.0, 3.0, 5.0, 9.0], [8.0]], bins=2)
    assert found == [[2.0], [7.0, 8.0]]


def test_settings_that_leave_no_teacher_are_refused():
    with pytest.raises(LabError, match=r"evaluator\.asymmetry\.num_samples=1"):
        asymmetry.AsymmetryEvaluator(AsymmetryConfig(num_samples=1)).plan(Setup())
    config = AsymmetryConfig(teacher_template="{prompt}")
    with pytest.raises(LabError, match=r"evaluator\.asymmetry\.teacher_template: .*{solution}"):
        asymmetry.AsymmetryEvaluator(config).plan(Setup())


@pytest.mark.parametrize("name", ["asymmetry", "reflection", "promotion"])
def test_an_unknown_set_is_refused_before_the_run(name):
    words = ["plugin=rlrt", f"evaluator=[accuracy,{name}]"]
    build(compose(words)).plan(ResourcesConfig())
    parts = build(compose([*words, f"{name}.evaluation_set=ood_larg"]))
    message = (
        rf"no evaluation set for evaluator\.{name}\.evaluation_set 'ood_larg'; "
        "did you mean 'ood_large'"
    )
    with pytest.raises(LabError, match=message):
        parts.plan(ResourcesConfig())


@pytest.mark.parametrize("name", ["asymmetry", "reflection", "promotion"])
def test_rollouts_beyond_the_models_context_are_refused(tmp_path, policy, data, name):
    evaluator = build(
        compose(["plugin=rlrt", f"evaluator={name}", f"{name}.max_new_tokens=1024"])
    ).evaluators[name]
    message = rf"^evaluator\.{name}\.max_new_tokens=1024: with the prompt of .* the model's 1024;"
    with pytest.raises(LabError, match=message):
        evaluator.plan(Setup(model=policy, data=data))
    with pytest.raises(LabError, match=message):
        evaluator.evaluate(context(tmp_path), policy, data)


def test_an_unknown_set_is_refused_by_name(data):
    with pytest.raises(LabError, match="in_domain"):
        rollouts.choose_set(data, AsymmetryConfig(evaluation_set="in_domian"))

"""Selection, contexts, scores and figure of study 1, on hand-made problems."""

import json
import math
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from lab_epistemic.richness import responses
from lab_epistemic.richness.config import RichnessConfig
from lab_epistemic.richness.contexts import contexts, shown
from lab_epistemic.richness.evaluator import _Study
from lab_epistemic.richness.figure import PANELS, panels
from lab_epistemic.richness.responses import Asked, Interview, Response
from lab_epistemic.richness.scores import LevelResult, problem_metrics, scores, summary
from lab_epistemic.richness.selection import pass_counts, select, solutions
from lab_llm.distributed.stopping import StopPoints
from lab_llm.policy.config import PolicyConfig
from lab_llm.policy.tokenizer_files import load_tokenizer
from lab_llm.problems import MARKED, Problem, ProblemSets
from lab_llm.text.epistemic_words import EPISTEMIC_WORDS
from lab_llm.text.prompts import COUNTDOWN_TEMPLATE, encode
from labrun import LabError
from labrun.config.experiments import compose, studied
from labrun.results.statistics.intervals import Interval


def problem(name, solution=None):
    prompt = ({"role": "user", "content": "nums 5 2 1 make 6"},)
    return Problem(id=name, prompt=prompt, answer="6", solution=solution)


def asked(name, rewards, texts=None, tokens=None, solution=None):
    texts = texts or [f"{name}{i}" for i in range(len(rewards))]
    tokens = tokens or [1] * len(rewards)
    responses = [Response(*one) for one in zip(texts, tokens, rewards, strict=True)]
    return Asked(problem(name, solution), None, False, responses)


METRICS = Path(__file__).parents[3] / "docs" / "metrics.md"
PROBES = [
    asked("a", [0, 0, 0]),
    asked("b", [1, 0, 1]),
    asked("c", [0, 1, 0]),
    asked("d", [1, 1, 1]),
]


def test_the_window_keeps_the_first_problems_in_order():
    config = RichnessConfig(num_probes=3, min_passes=1, max_passes=2)
    assert [one.problem.id for one in select(PROBES, config)] == ["b", "c"]
    assert pass_counts(PROBES) == {0: 1, 1: 1, 2: 1, 3: 1}
    ends = RichnessConfig(num_probes=3, min_passes=2, max_passes=3, num_problems=1)
    assert [one.problem.id for one in select(PROBES, ends)] == ["b"]


def test_an_empty_window_tells_the_pass_counts():
    config = RichnessConfig(num_probes=3, min_passes=2, max_passes=2)
    with pytest.raises(LabError) as caught:
        select([PROBES[0], PROBES[0], PROBES[3]], config)
    assert "first 3 of 'train' has 2 to 2 correct of 3" in str(caught.value)
    assert "problems by pass count: 2 with 0, 1 with 3;" in str(caught.value)


def test_solutions_are_correct_responses_or_the_datasets():
    drawn = {
        tuple(solutions(PROBES[1:3], RichnessConfig(), np.random.default_rng(seed)))
        for seed in range(20)
    }
    assert drawn == {("b0", "c1"), ("b2", "c1")}
    first = RichnessConfig(response_choice="first")
    assert solutions(PROBES[1:3], first, np.random.default_rng(0)) == ["b0", "c1"]
    given = [asked("e", [0], solution="whole")]
    config = RichnessConfig(solution_source="dataset")
    assert solutions(given, config, np.random.default_rng(0)) == ["whole"]


THOUGHTS = ["<think>hmm</think>so 6", "6", "<think>hmm</think>"]


def test_a_level_shows_its_part_of_the_solution():
    problems = [problem(name) for name in "abc"]
    assert contexts("none", problems, THOUGHTS, MARKED) == {0: None, 1: None, 2: None}
    assert contexts("answer", problems, THOUGHTS, MARKED) == {0: "6", 1: "6", 2: "6"}
    assert contexts("solution", problems, THOUGHTS, MARKED) == dict(enumerate(THOUGHTS))
    # b marks no thinking, and nothing follows c's
    assert contexts("without_thinking", problems, THOUGHTS, MARKED) == {0: "so 6"}


def test_solutions_without_any_marks_are_refused():
    with pytest.raises(LabError, match=r"none of the 2 chosen solutions marks"):
        contexts("without_thinking", [problem("a"), problem("b")], ["6", "7"], MARKED)


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer(PolicyConfig())


def test_a_context_loses_its_end_until_the_prompt_fits(tokenizer):
    one, text = problem("a"), "5+2=7 7-1=6 yes. ans 5+2-1"
    whole = shown(tokenizer, one, text, template=COUNTDOWN_TEMPLATE, longest_prompt=100)
    asked = [{"role": "user", "content": f"nums 5 2 1 make 6\nref: {text}"}]
    assert (whole.context, whole.truncated) == (text, False)
    assert whole.prompt == encode(tokenizer, asked)
    size = len(whole.prompt)
    exact = shown(tokenizer, one, text, template=COUNTDOWN_TEMPLATE, longest_prompt=size)
    assert not exact.truncated
    cut = shown(tokenizer, one, text, template=COUNTDOWN_TEMPLATE, longest_prompt=size - 3)
    # single digits and signs are tokens: -3 takes the last three
    assert (cut.context, cut.truncated) == ("5+2=7 7-1=6 yes. ans 5+", True)
    assert len(cut.prompt) == size - 3
    none = shown(tokenizer, one, text, template=COUNTDOWN_TEMPLATE, longest_prompt=1)
    assert (none.context, none.truncated) == ("", True)


def test_a_cut_within_a_character_leaves_no_half_of_it(tokenizer):
    """The emoji is four tokens, one a byte."""
    one, text = problem("a"), "5+2=7 \N{GRINNING FACE}"
    size = len(shown(tokenizer, one, text, template=COUNTDOWN_TEMPLATE, longest_prompt=99).prompt)
    for lost in (1, 2, 3):
        cut = shown(tokenizer, one, text, template=COUNTDOWN_TEMPLATE, longest_prompt=size - lost)
        assert (cut.context, cut.truncated) == ("5+2=7 ", True)


def test_no_context_is_the_question_itself(tokenizer):
    one = problem("a")
    found = shown(tokenizer, one, None, template=COUNTDOWN_TEMPLATE, longest_prompt=1)
    assert (found.prompt, found.context, found.truncated) == (
        encode(tokenizer, one.prompt),
        None,
        False,
    )


TALK = asked("a", [1, 0], ["Wait, maybe checking", "6"], [6, 4])


def test_metrics_are_means_over_the_responses_of_a_problem():
    # whole words wait, maybe: 2 + 0; substrings wait, maybe, check: 3 + 0; 2 words in 10 tokens
    assert problem_metrics(TALK, EPISTEMIC_WORDS) == {
        "accuracy": 0.5,
        "completion_length": 5,
        "epistemic_words": 1,
        "epistemic_count": 1.5,
        "epistemic_words_per_1k": 200,
    }
    assert problem_metrics(TALK, ("six", "6"))["epistemic_words"] == 0.5


RESULTS = [
    LevelResult("none", {0: TALK, 1: asked("b", [0, 0])}, {"num_problems": 2, "truncated": 0}),
    LevelResult("without_thinking", {1: asked("b", [1, 0])}, {"num_problems": 1, "truncated": 1}),
]


def test_scores_are_means_over_the_kept_problems_and_have_no_items():
    found = {score.metric: score for score in scores(RESULTS[0], EPISTEMIC_WORDS)}
    accuracy = found["accuracy"]
    assert (accuracy.task, accuracy.value, accuracy.n) == ("none", 0.25, 2)
    assert accuracy.items == ()  # other runs keep other problems
    assert (found["num_problems"].value, found["num_problems"].items) == (2, ())
    (cut,) = [s for s in scores(RESULTS[1], EPISTEMIC_WORDS) if s.metric == "truncated"]
    assert (cut.value, cut.n) == (1, 1)


def test_the_summary_has_intervals_and_differences_paired_by_problem():
    told = summary(RESULTS, EPISTEMIC_WORDS)
    levels = json.loads(json.dumps(told, allow_nan=False))["levels"]
    # .5 and 0: s = .35355, t(1) = 12.7062, half 12.7062 * .35355 / sqrt 2 = 3.17655
    accuracy = levels["none"]["metrics"]["accuracy"]
    assert (accuracy["mean"], accuracy["n"]) == (0.25, 2)
    assert accuracy["high"] - 0.25 == pytest.approx(3.17655, abs=1e-4)
    assert 0.25 - accuracy["low"] == pytest.approx(3.17655, abs=1e-4)
    # only problem 1 is in both: .5 - 0
    less = levels["without_thinking"]["less_none"]["accuracy"]
    assert less == {"mean": 0.5, "low": None, "high": None, "n": 1}
    assert "less_none" not in levels["none"]
    assert levels["without_thinking"]["counts"] == {"num_problems": 1, "truncated": 1}


def test_panels_show_means_and_intervals_over_levels():
    cells = {
        metric: {"none": Interval(0.5, 0.1, 3), "solution": Interval(0.9, math.nan, 1)}
        for metric in PANELS
    }
    figure = panels(cells, title="two levels")
    assert [axis.get_ylabel() for axis in figure.axes] == [*PANELS.values()]
    axis: Any = figure.axes[0]
    assert [label.get_text() for label in axis.get_xticklabels()] == ["none", "s"]
    assert [*axis.get_lines()[0].get_ydata()] == [0.5, 0.9]
    ends = [segment[:, 1].tolist() for segment in axis.collections[0].get_segments()]
    assert ends[0] == pytest.approx([0.4, 0.6])
    assert ends[1] == [0.9, 0.9]


def test_every_score_is_documented():
    section = METRICS.read_text().split("## Context richness")[1].split("\n## ")[0]
    counts = ("num_problems", "truncated", "num_unmarked", "num_lost")
    result = LevelResult("none", {0: TALK}, dict.fromkeys(counts, 0))
    names = {score.metric for score in scores(result, EPISTEMIC_WORDS)}
    assert names == set(re.findall(r"^\| `(\w+)`", section, flags=re.M))


def test_the_study_only_evaluates_whatever_the_scale():
    for scale in ("tiny", "laptop"):
        words = ["plugin=epistemic", "study=richness", f"scale={scale}"]
        experiment = compose(words)
        assert experiment.settings["trainer"]["max_steps"] == 0
        chosen = {k: v for k, v in experiment.components.items() if k.startswith("evaluator")}
        assert chosen == {"evaluator.richness": "epistemic.richness"}
    assert [point.run.seed for point in studied(words)] == [0, 1, 2, 3, 4]
    assert len(studied([*words, "seed=3"])) == 1


def test_the_tiny_study_samples_as_the_tiny_model_was_trained():
    found = compose(["plugin=epistemic", "study=richness"]).settings["evaluator.richness"]
    sampling = ("temperature", "top_p", "top_k", "pool_size", "num_samples", "max_new_tokens")
    assert [found[key] for key in sampling] == [1.0, 1.0, 0, 200, 8, 128]


@pytest.mark.parametrize(
    ("choice", "guides"),
    [
        ("first", ["b1", "c0"]),  # of c, who has no correct response, the first one
        ("random", ["b1", "s"]),  # it keeps what it was shown
    ],
)
def test_a_round_s_responses_guide_the_next(choice, guides):
    told: list[Any] = []
    cut = {"round_1": (True, False), "guided": (False, True)}

    class Told(Interview):
        def __init__(self):
            config = RichnessConfig(response_choice=choice, rounds=1)
            ctx = SimpleNamespace(rng=lambda *_: np.random.default_rng(0))
            vars(self).update(config=config, ctx=ctx)

        def ask(self, stage, problems, contexts, *, num_samples):
            del problems, num_samples
            told.append((stage, contexts[:]))
            found = asked("b", [0, 1]), asked("c", [0, 0])
            return [replace(one, truncated=t) for one, t in zip(found, cut[stage], strict=True)]

    study = _Study(Told(), ProblemSets([], {}, verify=lambda *_: 0.0))
    result = study._guided([problem("b"), problem("c")], ["s", "s"])
    assert told == [("round_1", ["s", "s"]), ("guided", guides)]
    # one is cut in the round, the other at the level
    assert result.counts == {"num_problems": 2, "truncated": 2, "num_lost": 1}


def test_timeouts_of_all_ranks_are_told(monkeypatch):
    notes = []
    monkeypatch.setattr(responses, "gather_objects", lambda mine: [mine, 3])
    ctx: Any = SimpleNamespace(note=notes.append)
    interview: Any = SimpleNamespace(
        ctx=ctx, policy=SimpleNamespace(tokenizer=None), verify=lambda problem, text: 0.0
    )
    points = StopPoints(ctx, 0, work="grading")
    assert Interview._graded(interview, [], [], {}, batch_size=1, beat=points) == {}
    assert notes == ["the grader ran out of time for 3 responses: reward 0"]

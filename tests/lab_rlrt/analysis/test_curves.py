"""The rule of collapse on series made by hand, and the figure of a run's events."""

import pytest
from lab_rlrt.analysis.config import CurvesConfig
from lab_rlrt.analysis.curves.evaluator import CurvesEvaluator, collapse_step
from lab_rlrt.analysis.curves.smoothing import running_mean
from labrun import Score
from labrun.config.experiments import compose
from labrun.runs import run_dir
from labrun.runs.context import RunContext

RULE = {"window": 2, "drop": 0.5, "growth": 1.5}
FALLS = [0.4, 0.8, 0.8, 0.8, 0.2, 0.2, 0.1, 0.1]
"""Means of two: .6 .8 .8 .5 .2 .15 .1; the best is .8, and .5 lies above half of it."""
FLAT = [1.0] * 8
GROWS = [1.0, 1.0, 1.0, 1.0, 1.2, 1.4, 1.6, 1.6]
"""Means of two end at 1.6, above 1.5 times 1."""


def test_running_means_begin_where_the_window_is_full():
    assert running_mean([1.0, 3.0, 5.0], 2).tolist() == [2.0, 4.0]


@pytest.mark.parametrize(("entropy", "length"), [(GROWS, FLAT), (FLAT, GROWS), (GROWS, GROWS)])
def test_collapse_is_where_the_reward_falls_for_good_while_entropy_or_length_grows(entropy, length):
    # the mean of indices 4 and 5, .2, is the first at or below .4
    assert collapse_step(FALLS, entropy, length, **RULE) == 5


def test_a_fall_with_neither_growing_is_no_collapse():
    assert collapse_step(FALLS, FLAT, FLAT, **RULE) is None
    assert collapse_step(FALLS, GROWS, FLAT, **{**RULE, "growth": 1.7}) is None


def test_growth_counts_from_the_best_reward_on():
    shrinks = [2.0, 1.0, 1.0, 1.0, 1.2, 1.4, 1.6, 1.6]
    grown_before = [0.5, 0.5, 1.6, 1.6, 1.6, 1.6, 1.6, 1.6]
    assert collapse_step(FALLS, shrinks, FLAT, **RULE) == 5
    late_best = [0.4, 0.4, 0.4, 0.8, 0.8, 0.2, 0.2, 0.2]
    assert collapse_step(late_best, grown_before, FLAT, **RULE) is None


def test_a_reward_that_was_never_above_0_is_no_collapse():
    assert collapse_step([0.0] * 8, GROWS, FLAT, **RULE) is None


def test_a_reward_that_recovers_or_falls_by_less_is_no_collapse():
    assert collapse_step([*FALLS, 0.8, 0.8], [*GROWS, 2, 2], [*FLAT, 1, 1], **RULE) is None
    assert collapse_step(FALLS, GROWS, GROWS, **{**RULE, "drop": 0.9}) is None


def test_of_two_falls_the_lasting_one_counts():
    reward = [0.8, 0.8, 0.1, 0.1, 0.8, 0.8, 0.1, 0.1, 0.1]
    grown = [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 2.0, 2.0, 2.0]
    # means of two after the second fall: .45 at index 6, .1 at index 7
    assert collapse_step(reward, grown, grown, **RULE) == 7


def test_a_run_shorter_than_the_window_tells_nothing():
    assert collapse_step([0.8, 0.1], [1.0, 9.0], [1.0, 9.0], **RULE) is None


def context(path, *, max_steps):
    experiment = compose(["plugin=rlrt", f"max_steps={max_steps}"])
    run = run_dir.create(experiment, root=path)
    return RunContext(run=run, seed=0, attempt=1, devices=(), resume_from=None, keep_checkpoints=1)


def played(path, reward, entropy):
    ctx = context(path, max_steps=len(reward))
    ctx._event("score", step=0, score=vars(Score("in_domain", "accuracy", 0.5, 1)))
    for step, (r, e) in enumerate(zip(reward, entropy, strict=True), start=1):
        ctx.log(step, {"reward": r, "entropy": e, "completion_length": 20.0})
    return ctx


def test_a_collapse_is_a_score_a_note_and_a_figure(tmp_path):
    ctx = played(tmp_path, FALLS, GROWS)
    evaluator = CurvesEvaluator(CurvesConfig(**RULE))
    # index 5 of the steps 1 to 8
    assert evaluator.evaluate(ctx, None, None) == [Score("training", "collapse_step", 6.0, 1)]
    notes = [event["message"] for event in ctx.run.events() if event["kind"] == "note"]
    assert notes == ["curves: training collapsed at step 6 (rule: docs/metrics.md)"]
    assert (ctx.run_dir / "artifacts/curves.png").stat().st_size > 10_000


def test_no_collapse_leaves_the_figure_alone(tmp_path):
    ctx = played(tmp_path, FALLS, FLAT)
    assert CurvesEvaluator(CurvesConfig(**RULE)).evaluate(ctx, None, None) == []
    assert [event for event in ctx.run.events() if event["kind"] == "note"] == []
    assert (ctx.run_dir / "artifacts/curves.png").exists()


def test_nothing_is_drawn_before_the_last_step(tmp_path):
    ctx = played(tmp_path, FALLS, GROWS)
    ctx.step = 7
    assert CurvesEvaluator(CurvesConfig(**RULE)).evaluate(ctx, None, None) == []
    assert not (ctx.run_dir / "artifacts/curves.png").exists()


def test_a_run_that_only_evaluates_says_that_there_is_nothing_to_draw(tmp_path):
    ctx = context(tmp_path, max_steps=0)
    assert CurvesEvaluator(CurvesConfig()).evaluate(ctx, None, None) == []
    (note,) = ctx.run.events()
    assert note["message"].startswith("curves: the run has logged no reward")

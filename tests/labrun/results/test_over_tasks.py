"""Arms over several tasks at once, on runs whose scores are written by hand."""

import json
import math

import pytest
from labrun.results import formats
from labrun.results.comparison import comparison_of


@pytest.fixture
def compared(make_run, event):
    """`compared(eps=[{"a": .5, "b": .25}, ...])`: of runs of seeds 0, 1, ... with these scores."""

    def make(baseline=None, *, metric="accuracy", lower=(), scores=(), means=(), **methods):
        runs = [
            make_run(
                *(event.score(3, value, metric, task) for task, value in tasks.items()),
                *(event.score(3, 0.9, metric, task, over=["a", "b"]) for task in means),
                seed=seed,
                method=method,
            )
            for method, seeds in methods.items()
            for seed, tasks in enumerate(seeds)
        ]
        return comparison_of(runs, baseline=baseline, lower=lower, scores=scores)

    return make


def test_mean_and_iqm_are_over_seeds_and_tasks(compared):
    # means of seeds .3, .4 and .5: mean .4, s = .1, t(2) = 4.3027, half width .1 t / sqrt(3);
    # of .1 .2 .3 .5 .6 .7 one is cut off at each end, the mean of .2 .3 .5 and .6 is left
    three = [{"a": 0.1, "b": 0.5}, {"a": 0.2, "b": 0.6}, {"a": 0.3, "b": 0.7}]
    (one,) = compared(eps=three).over_tasks
    assert (one.metric, one.arm, one.tasks, one.num_seeds) == ("accuracy", "eps", ("a", "b"), 3)
    assert one.mean.mean == pytest.approx(0.4)
    assert one.mean.half_width == pytest.approx(0.248414, abs=1e-5)
    # a seed is drawn with both its tasks: of seed 0 alone (1 draw in 27) all are .1 or .5
    assert (one.iqm.mean, one.iqm.low, one.iqm.high) == pytest.approx((0.4, 0.3, 0.5))
    assert one.better is None


def test_the_chance_to_be_better_is_mann_and_whitneys_mean_over_tasks(compared):
    # a: .3 and .4 beat .2 nine times of nine; b: .5 .7 .9 against the same, 3 ties, 3 won and 3
    # lost: 1/2; the mean of 1 and 1/2
    found = compared(
        "eps",
        eps=[{"a": 0.2, "b": 0.5}, {"a": 0.2, "b": 0.7}, {"a": 0.2, "b": 0.9}],
        ucb=[{"a": 0.3, "b": 0.5}, {"a": 0.3, "b": 0.7}, {"a": 0.4, "b": 0.9}],
    )
    better = {one.arm: one.better for one in found.over_tasks}
    assert better["eps"] is None
    assert better["ucb"].mean == pytest.approx(0.75)
    assert 0.5 <= better["ucb"].low < 0.75 < better["ucb"].high <= 1.0


def test_of_a_loss_less_is_better(compared):
    arms = {"eps": [{"a": 5.0, "b": 7.0}], "ucb": [{"a": 4.0, "b": 900.0}]}
    (one,) = compared("eps", metric="loss", **arms).over_tasks
    assert (one.arm, one.mean, one.iqm) == ("ucb", None, None)
    assert one.better.mean == 0.5
    assert math.isnan(one.better.low)
    (one,) = compared("eps", metric="words", lower=["words"], **arms).over_tasks
    assert one.better.mean == 0.5


@pytest.mark.parametrize(
    ("metric", "tasks"),
    [
        ("accuracy", {"a": 0.5}),
        ("words", {"a": 0.5, "b": 0.25}),
        ("accuracy", {"a": 0.5, "b": math.nan}),
        ("accuracy", {"a": 0.5, "b": 50.0}),
        ("return", {"a": 0.5, "b": 0.25}),
    ],
)
def test_nothing_is_said_of_one_task_or_without_a_common_scale(compared, metric, tasks):
    found = compared(metric=metric, eps=[tasks, tasks])
    assert found.over_tasks == []
    assert found.rates == []
    assert not any(" tasks (" in note for note in found.sheet.notes)


def test_means_over_tasks_do_not_count_as_tasks(compared):
    (one,) = compared(eps=[{"a": 0.5, "b": 0.25}], means=["seen"]).over_tasks
    assert one.tasks == ("a", "b")
    assert one.mean.mean == 0.375


def test_tasks_that_not_every_run_has_are_left_out(compared):
    found = compared(eps=[{"a": 0.5, "b": 0.25, "c": 1.0}], ucb=[{"a": 0.25, "b": 0.25}])
    assert {one.tasks for one in found.over_tasks} == {("a", "b")}


def test_chosen_rows_choose_the_tasks(compared):
    tasks = {"a": 0.5, "b": 0.25, "c": 1.0}
    (one,) = compared(eps=[tasks], scores=["a/accuracy", "c/accuracy"]).over_tasks
    assert one.tasks == ("a", "c")
    assert compared(eps=[tasks], scores=["a/accuracy"]).over_tasks == []


def test_one_seed_has_no_interval(compared):
    (one,) = compared(eps=[{"a": 0.5, "b": 0.25}]).over_tasks
    assert (str(one.mean), str(one.iqm)) == ("0.375", "0.375")


def test_two_seeds_have_no_brackets_over_tasks(compared):
    two = [{"a": 0.5, "b": 0.25}, {"a": 0.75, "b": 0.5}]
    eps, ucb = compared("eps", eps=two, ucb=two).over_tasks
    assert (str(eps.iqm), str(ucb.better)) == ("0.500", "0.500")


def test_the_table_ends_with_the_rows_of_several_tasks(compared):
    three = [{"a": 0.25, "b": 0.5}] * 3
    found = compared("eps", eps=three, ucb=[{"a": 0.5, "b": 0.75}] * 3)
    assert list(found.sheet.summary) == [
        ("2 tasks", "accuracy, mean"),
        ("2 tasks", "accuracy, IQM"),
        ("2 tasks", "accuracy, better than eps"),
    ]
    mean, _, better = found.sheet.summary.values()
    assert [entry and (entry.text, entry.is_best) for entry in mean] == [
        ("0.375 ± 0.000", False),
        ("0.625 ± 0.000", True),
    ]
    assert better[0] is None
    assert better[1].text == "1.000 [1.000, 1.000]"
    assert "over 2 tasks (a, b): accuracy" in found.sheet.notes
    text = formats.to_latex(found.sheet)
    assert text.index("b & accuracy &") < text.index("\\midrule\n2 tasks & accuracy, mean &")
    said = json.loads(formats.to_json(found))["over_tasks"]
    assert said[1]["better_than_baseline"] == {"value": 1.0, "low": 1.0, "high": 1.0}
    assert said[0]["iqm"]["value"] == 0.375

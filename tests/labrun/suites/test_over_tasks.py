"""A suite's arms on all its tasks at once."""

import pytest

A = [{"x": 0.0, "y": 0.25}, {"x": 0.25, "y": 0.5}]
B = [{"x": 0.5, "y": 0.75}, {"x": 0.5, "y": 0.75}]


def test_the_first_arm_is_the_baseline_of_the_others(result):
    found = result({"a": A, "b": B})
    assert found.baseline == "a"
    ours, theirs = found.over_tasks
    # a: means of seeds .125 and .375; of 0 .25 .25 .5 the middle two
    assert (ours.arm, ours.mean.mean, ours.iqm.mean, ours.better) == ("a", 0.25, 0.25, None)
    # b beats a on x and y in every pair of seeds
    assert (theirs.arm, theirs.mean.mean, theirs.better.mean) == ("b", 0.625, 1.0)


def test_every_label_of_an_axis_is_a_task_of_its_own_runs(result):
    found = result({"a": A, "b": B}, labels=["easy", "hard"])
    (grid,) = found.grids
    assert grid.tasks == ("x easy", "y easy", "x hard", "y hard")
    assert grid.together == (0, 0, 1, 1)
    # a row a seed: x and y, and both again with an eighth more
    assert grid.scores["a"].tolist() == [[0.0, 0.25, 0.125, 0.375], [0.25, 0.5, 0.375, 0.625]]


def test_a_seed_counts_once_all_its_runs_are_done(result):
    found = result({"a": A, "b": B}, labels=["easy", "hard"], missing=[("a", "hard", 1)])
    (grid,) = found.grids
    assert {arm: len(scores) for arm, scores in grid.scores.items()} == {"a": 1, "b": 2}
    missing = [("a", "hard", 0), ("a", "easy", 1)]
    found = result({"a": A, "b": B}, labels=["easy", "hard"], missing=missing)
    assert found.baseline is None
    assert [(one.arm, one.better) for one in found.over_tasks] == [("b", None)]


@pytest.mark.parametrize("arms", [{"a": [{"x": 0.5}]}, {"a": []}])
def test_nothing_is_said_of_one_task_or_no_run(result, arms):
    assert result(arms).over_tasks == []

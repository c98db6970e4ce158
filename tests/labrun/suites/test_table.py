"""Published numbers beside ours, on runs whose scores are written by hand."""

import math
from pathlib import Path

import pytest
from labrun.results import compare
from labrun.runs.run_dir import RunDir
from labrun.suites import table
from labrun.suites.needed import Needed, held, key_of
from labrun.suites.suite import Row, Scale


def scale(*rows: Row, axes=None, toy: str = "") -> Scale:
    return Scale("paper", toy, (), {"a": (), "b": ()}, axes or {}, (), rows, {}, "0,1")


def needed(run: RunDir, arm: str, **point: str) -> Needed:
    experiment = run.experiment()
    return Needed(arm, point, experiment.run.seed, experiment, ())


def lines(of: Scale, wanted, runs):
    return table.lines(of, wanted, table.done_runs(wanted, held(runs, wanted)))


@pytest.fixture
def two_arms(make_run, event):
    """Arm a scores .2 and .4 (seeds 0 and 1), b .5 and .9, each from .1 at the start."""
    runs = {}
    for method, values in (("a", (0.2, 0.4)), ("b", (0.5, 0.9))):
        for seed, value in enumerate(values):
            events = event.attempt(0), event.score(0, 0.1), event.score(3, value)
            runs[method, seed] = make_run(*events, seed=seed, method=method)
    return runs


def test_a_cell_is_the_mean_and_t_interval_that_lab_compare_prints(two_arms):
    wanted = [needed(run, arm) for (arm, _), run in two_arms.items()]
    found = lines(scale(Row("r", {"test": 1.0}, "accuracy")), wanted, [*two_arms.values()])
    # a: mean .3, s = .1 * sqrt(2), t(1) = 12.706, half width t * s / sqrt(2) = 1.2706
    assert [(line.arm, line.num_seeds, line.num_wanted) for line in found] == [
        ("a", 2, 2),
        ("b", 2, 2),
    ]
    assert found[0].ours.mean == pytest.approx(0.3)
    assert found[0].ours.half_width == pytest.approx(1.2706, abs=1e-4)
    compared = compare.table(compare.arms(two_arms.values())).rows["test", "accuracy"]
    shown = [(compared[arm].mean, compared[arm].half_width) for arm in ("a", "b")]
    assert [(line.ours.mean, line.ours.half_width) for line in found] == shown


def test_percent_is_a_hundred_times_the_score_and_stands_beside_the_published_number(two_arms):
    wanted = [needed(run, arm) for (arm, _), run in two_arms.items()]
    row = Row("r", {"test": 1.0}, "accuracy", "percent", published={"b": 71.5})
    a, b = lines(scale(row), wanted, [*two_arms.values()])
    assert (a.published, b.published) == (None, 71.5)
    assert (a.ours.mean, b.ours.mean) == (pytest.approx(30.0), pytest.approx(70.0))


def test_a_change_is_relative_to_the_score_before_training(two_arms):
    wanted = [needed(run, arm) for (arm, _), run in two_arms.items()]
    row = Row("r", {"test": 1.0}, "accuracy", "percent", is_change=True)
    a, _ = lines(scale(row), wanted, [*two_arms.values()])
    assert a.ours.mean == pytest.approx(200.0)  # from .1 to .2 is +100%, to .4 is +300%


def test_tasks_are_averaged_with_their_weights(make_run, event):
    scores = [event.score(3, 0.8), event.score(3, 0.2)]
    scores[1]["score"]["task"] = "unseen"
    run = make_run(event.attempt(0), *scores, method="a")
    row = Row("total", {"test": 1.0, "unseen": 2.0}, "accuracy")
    found, _ = lines(scale(row), [needed(run, "a")], [run])
    assert found.ours.mean == pytest.approx(0.4)  # (.8 + 2 * .2) / 3
    missing = Row("total", {"test": 1.0, "gone": 2.0}, "accuracy")
    assert lines(scale(missing), [needed(run, "a")], [run])[0].ours is None


@pytest.fixture
def at_two_sizes(make_run, event):
    """Arm a: seed 0 scores .2 small and .6 big, seed 1 scores .4 small, and big is not made."""
    made = {}
    for size, rate, seed, value in (("small", 1, 0, 0.2), ("big", 2, 0, 0.6), ("small", 1, 1, 0.4)):
        events = event.attempt(0), event.score(3, value)
        made[size, seed] = make_run(*events, seed=seed, method="a", settings={"size": rate})
    return made


def test_a_row_is_a_mean_over_the_axes_that_it_does_not_fix_of_whole_seeds(
    at_two_sizes, make_run, event
):
    axes = {"size": {"small": (), "big": ()}}
    wanted = [needed(run, "a", size=size) for (size, _), run in at_two_sizes.items()]
    to_come = make_run(event.attempt(0), seed=1, method="a", settings={"size": 2}, state="failed")
    wanted.append(needed(to_come, "a", size="big"))
    rows = (
        Row("small", {"test": 1.0}, "accuracy", at={"size": "small"}),
        Row("both", {"test": 1.0}, "accuracy"),
    )
    small, _, both, _ = lines(scale(*rows, axes=axes), wanted, [*at_two_sizes.values(), to_come])
    assert (small.ours.mean, small.num_seeds) == (pytest.approx(0.3), 2)
    assert (both.ours.mean, both.num_seeds, both.num_wanted) == (pytest.approx(0.4), 1, 2)
    assert math.isnan(both.ours.half_width)


def test_without_rows_there_is_one_for_each_score_at_each_point(at_two_sizes):
    axes = {"size": {"small": (), "big": ()}}
    wanted = [needed(run, "a", size=size) for (size, _), run in at_two_sizes.items()]
    found = lines(scale(axes=axes), wanted, [*at_two_sizes.values()])
    assert [(line.row.name, line.arm) for line in found] == [
        ("test accuracy small", "a"),
        ("test accuracy small", "b"),
        ("test accuracy big", "a"),
        ("test accuracy big", "b"),
    ]


def test_a_run_is_held_whatever_launcher_made_it_and_a_done_one_counts(make_run, event):
    done = make_run(event.attempt(0), event.score(3, 0.5), method="a", group="g")
    again = make_run(event.attempt(0), method="a", group="g", state="failed", uri="http://h:1")
    other = make_run(event.attempt(0), method="a", settings={"size": 3})
    wanted = [needed(done, "a")]
    assert [run.id for run in held([done, again, other], wanted).values()] == [done.id]
    assert held([other], wanted) == {}
    (Path(done.path) / "spec.json").write_text("{")
    assert [run.id for run in held([done, again], wanted).values()] == [again.id]


def test_equal_settings_of_another_seed_are_another_run(make_run):
    assert key_of(make_run(seed=0).experiment()) != key_of(make_run(seed=1).experiment())


def test_the_csv_says_of_every_line_whether_it_is_a_toy(two_arms):
    wanted = [needed(run, arm) for (arm, _), run in two_arms.items()]
    row = Row("r", {"test": 1.0}, "accuracy", published={"a": 0.25})
    small = scale(row, toy="small")
    text = table.to_csv(lines(small, wanted, [two_arms["a", 0], two_arms["b", 0]]), small)
    assert text.splitlines() == [
        "row,arm,unit,published,ours,t95_half_width,num_seeds,num_seeds_wanted,scale,toy",
        "r,a,fraction,0.25,0.2,,1,2,paper,yes",
        "r,b,fraction,,0.5,,1,2,paper,yes",
    ]

import csv
import json
import math

import pytest
from labrun.errors import LabError
from labrun.results import compare, formats
from labrun.results.comparison import comparison_of
from labrun.results.differing import settings_of, unlabelled
from labrun.results.statistics.intervals import t_interval

# 97.5% quantiles of Student's t in closed form, with 1 and 2 degrees of freedom
T_1 = math.tan(math.pi * 0.475)  # 12.7062
T_2 = 0.95 * math.sqrt(2 / (1 - 0.95**2))  # 4.3027


@pytest.fixture
def scored(make_run, event):
    """A done run that scored `start` at step 0 and `end` at step 3."""

    def make(end, *, start=None, **rest):
        first = [] if start is None else [event.score(0, start)]
        return make_run(*first, event.metrics(3, loss=1.0), event.score(3, end), **rest)

    return make


def test_interval_of_three_values_by_hand():
    # mean 2, s = 1, half width t * 1 / sqrt(3)
    interval = t_interval([1.0, 2.0, 3.0])
    assert interval.mean == 2.0
    assert interval.half_width == pytest.approx(T_2 / math.sqrt(3), rel=1e-9)
    assert interval.n == 3
    assert str(interval) == "2.000 ± 2.484"


def test_interval_of_two_values_by_hand():
    # s = sqrt(2) / 2 * 1, half width t * s / sqrt(2) = t / 2
    assert t_interval([0.0, 1.0]).half_width == pytest.approx(T_1 / 2, rel=1e-9)


def test_interval_at_another_confidence():
    quantile = 0.9 * math.sqrt(2 / (1 - 0.9**2))  # 95%, 2 degrees of freedom: 2.9200
    interval = t_interval([1.0, 2.0, 3.0], confidence=0.9)
    assert interval.half_width == pytest.approx(quantile / math.sqrt(3), rel=1e-9)


def test_interval_of_one_value_has_no_width():
    interval = t_interval([0.5])
    assert math.isnan(interval.half_width)
    assert str(interval) == "0.500"


def test_interval_of_nothing_is_refused():
    with pytest.raises(ValueError, match="no values"):
        t_interval([])


def test_table_has_mean_and_interval_of_the_last_scores(scored):
    runs = [scored(value, seed=seed) for seed, value in enumerate([0.2, 0.4, 0.6])]
    table = compare.table(compare.arms(runs))
    assert table.columns == ("plain",)
    cell = table.rows["test", "accuracy"]["plain"]
    # mean 0.4, s = 0.2
    assert cell.mean == pytest.approx(0.4)
    assert cell.half_width == pytest.approx(T_2 * 0.2 / math.sqrt(3))
    assert cell.n == 3


def test_score_before_training_counts_once_a_seed(scored):
    runs = [
        scored(0.5, start=start, seed=seed, method=method)
        for method in ("plain", "momentum")
        for seed, start in enumerate([0.1, 0.3])
    ]
    table = compare.table(compare.arms(runs))
    assert table.columns == ("start", "momentum", "plain")
    start = table.rows["test", "accuracy"]["start"]
    # two seeds, 0.1 and 0.3: s = 0.2 / sqrt(2), half width t * 0.1; not four values
    assert (start.mean, start.n) == (pytest.approx(0.2), 2)
    assert start.half_width == pytest.approx(T_1 * 0.1)


def test_the_start_can_be_left_out(scored):
    runs = [
        scored(value, start=0.1, seed=seed, method=method)
        for method, better in (("plain", 0.0), ("momentum", 0.125))
        for seed, value in enumerate((0.5 + better, 0.75 + better))
    ]
    found = comparison_of(runs, baseline="plain", has_start=False)
    assert found.table.columns == ("plain", "momentum")
    cells = found.table.rows["test", "accuracy"]
    assert {label: cell.mean for label, cell in cells.items()} == {
        "plain": 0.625,
        "momentum": 0.75,
    }
    assert "start" not in formats.to_latex(found.sheet)


def test_runs_that_only_evaluated_have_no_start_column(make_run, event):
    table = compare.table(compare.arms([make_run(event.score(0, 0.5))]))
    assert table.columns == ("plain",)
    assert table.rows["test", "accuracy"]["plain"].mean == 0.5


def test_equal_seeds_in_one_arm_are_refused(scored):
    runs = [scored(0.2, seed=1), scored(0.3, seed=1)]
    with pytest.raises(LabError, match="'plain' has runs of equal seed; name the runs or a group"):
        compare.table(compare.arms(runs))


def test_equal_seeds_in_different_arms_are_fine(scored):
    runs = [scored(0.2, seed=1), scored(0.3, seed=1, method="momentum")]
    assert [arm.label for arm in compare.arms(runs)] == ["momentum", "plain"]
    assert compare.table(compare.arms(runs)).columns == ("momentum", "plain")


def test_arms_are_labelled_by_the_keys_that_differ(scored):
    runs = [
        scored(0.1, seed=seed, settings={"noise": 0.5, "learning_rate": rate})
        for rate in (1, 2)
        for seed in (0, 1)
    ]
    arms = compare.arms(runs)
    assert [arm.label for arm in arms] == ["plain learning_rate=1", "plain learning_rate=2"]
    assert [len(arm.runs) for arm in arms] == [2, 2]


def test_seed_group_and_resources_set_no_arms_apart(scored):
    runs = [
        scored(0.1, seed=0, overrides=("group=a", "resources.num_cpus=1")),
        scored(0.2, seed=1, overrides=("group=b", "resources.num_cpus=2", "tracking.uri=x")),
    ]
    assert [arm.label for arm in compare.arms(runs)] == ["plain"]


def test_the_wording_of_a_setting_sets_no_arms_apart(scored):
    runs = [scored(0.1, seed=0), scored(0.2, seed=1, overrides=("trainer.max_steps=3",))]
    assert [len(arm.runs) for arm in compare.arms(runs)] == [2]


def test_equal_words_with_other_defaults_are_other_arms(scored):
    runs = [scored(0.1, settings={"max_steps": steps}) for steps in (3, 4)]
    assert [arm.label for arm in compare.arms(runs)] == ["plain max_steps=3", "plain max_steps=4"]


def test_keys_of_equal_ending_are_written_whole(scored):
    runs = [scored(0.1, settings={"a": {"rate": value}, "b": {"rate": value}}) for value in (1, 2)]
    assert [arm.label for arm in compare.arms(runs)] == [
        "plain trainer.a.rate=1 trainer.b.rate=1",
        "plain trainer.a.rate=2 trainer.b.rate=2",
    ]


def test_a_key_that_a_method_always_sets_is_not_in_its_label(scored):
    runs = [scored(0.1, method=m, settings={"credit": m}) for m in ("plain", "momentum")]
    assert [arm.label for arm in compare.arms(runs)] == ["momentum", "plain"]


def test_only_runs_that_are_done_are_compared(scored):
    runs = [scored(0.1, seed=0), scored(0.9, seed=1, state="failed")]
    assert [[run.path for run in arm.runs] for arm in compare.arms(runs)] == [[runs[0].path]]
    with pytest.raises(LabError, match="none of these runs is done"):
        compare.arms(runs[1:])


def test_csv_has_a_line_for_each_score_and_arm(scored):
    runs = [scored(value, seed=seed) for seed, value in enumerate([0.25, 0.75])]
    rows = list(csv.reader(compare.table(compare.arms(runs)).to_csv().splitlines()))
    assert rows[0][:6] == ["task", "metric", "arm", "mean", "t95_half_width", "num_seeds"]
    assert rows[0][6:] == ["interval", "low", "high", "num_problems"]
    assert rows[1][:4] == ["test", "accuracy", "plain", "0.5"]
    assert float(rows[1][4]) == pytest.approx(T_1 * 0.25)
    assert rows[1][5:7] == ["2", "seeds"]
    assert float(rows[1][7]) == pytest.approx(0.5 - T_1 * 0.25)
    assert rows[1][9] == "4"


def test_settings_that_a_command_line_names_are_in_the_labels_of_all_methods(scored):
    runs = [
        scored(0.5, start=start, method=m, settings={"max_steps": n}, overrides=(f"max_steps={n}",))
        for m, n, start in (("eps", 5, 0.1), ("ucb", 50, 0.1))
    ]
    arms = compare.arms(runs)
    assert [arm.label for arm in arms] == ["eps max_steps=5", "ucb max_steps=50"]
    assert compare.table(arms).columns == ("start", "eps max_steps=5", "ucb max_steps=50")


def test_values_that_read_alike_and_are_not_are_different_arms(scored):
    runs = [scored(0.1, settings={"tag": value}) for value in (1, "1")]
    assert [arm.label for arm in compare.arms(runs)] == ['plain tag="1"', "plain tag=1"]


def differing(runs):
    arms = compare.arms(runs)
    return unlabelled({arm.label: settings_of(arm.runs[0]) for arm in arms})


def test_settings_that_differ_without_a_word_are_listed(scored):
    runs = [
        scored(0.1, method=m, settings={"learning_rate": rate, "credit": m})
        for m, rate in (("plain", 0.1), ("momentum", 0.05))
    ]
    assert differing(runs) == {
        "trainer.learning_rate": {"0.05": ["momentum"], "0.1": ["plain"]},
        "trainer.credit": {"momentum": ["momentum"], "plain": ["plain"]},
    }


def test_a_method_of_two_plugins_is_labelled_by_them_and_not_by_all_their_settings(scored):
    runs = [
        scored(0.5, plugin="toy", method="grpo", settings={"rate": 1}),
        scored(0.5, plugin="other", method="grpo", settings={"words": ["wait"]}),
    ]
    assert [arm.label for arm in compare.arms(runs)] == ["other/grpo", "toy/grpo"]


def test_settings_in_every_label_are_not_listed_again(scored):
    runs = [scored(0.1, settings={"rate": rate}) for rate in (1, 2)]
    assert differing(runs) == {}


def data_run(scored, arms, *, method, start, seed=0, **rest):
    words = (f"dataset.arms={arms}",)
    sections = {"dataset": {"arms": arms}}
    return scored(
        0.9, start=start, method=method, seed=seed, overrides=words, sections=sections, **rest
    )


def test_arms_on_other_data_have_starts_of_their_own(scored):
    runs = [
        data_run(scored, arms, method=method, start=start, seed=seed)
        for method, arms, start in (("eps", 3, 0.3), ("greedy", 3, 0.3), ("ucb", 20, 0.05))
        for seed in (0, 1)
    ]
    table = compare.table(compare.arms(runs))
    assert table.columns == (
        "start arms=3",
        "start arms=20",
        "eps arms=3",
        "greedy arms=3",
        "ucb arms=20",
    )
    row = table.rows["test", "accuracy"]
    assert row["start arms=3"].mean == pytest.approx(0.3)
    assert row["start arms=20"].mean == pytest.approx(0.05)


def test_arms_that_train_on_other_data_and_start_alike_share_the_start(scored):
    runs = [data_run(scored, n, method="eps", start=0.3) for n in (3, 20)]
    assert compare.table(compare.arms(runs)).columns == ("start", "eps arms=20", "eps arms=3")


def test_arms_of_other_networks_have_starts_of_their_own(scored):
    runs = [
        scored(0.5, start=start, settings={"model": {"width": width}})
        for width, start in ((8, 0.1), (64, 0.2))
    ]
    assert compare.table(compare.arms(runs)).columns[:2] == ("start width=64", "start width=8")


def test_equal_settings_with_other_data_start_apart(scored):
    runs = [scored(0.5, start=start, method=m) for m, start in (("a", 0.1), ("b", 0.2))]
    for run, fingerprint in zip(runs, ("one", "two"), strict=True):
        (run.path / "data.json").write_text(json.dumps({"fingerprint": fingerprint}))
    assert compare.table(compare.arms(runs)).columns == ("start of a", "start of b", "a", "b")

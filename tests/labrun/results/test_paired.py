"""Differences to a baseline, paired by seed."""

import csv
import io
from dataclasses import replace

import pytest
from labrun.errors import LabError
from labrun.results import compare
from labrun.results import report as compare_report
from labrun.results.paired import baseline_of, differences, to_csv
from rich.console import Console


@pytest.fixture
def arms(make_run, event):
    """`arms(plain=[...], momentum=[...])`: done runs of seeds 0, 1, ... with these last scores."""

    def make(**values):
        runs = [
            make_run(event.score(3, value), seed=seed, method=method)
            for method, scores in values.items()
            for seed, value in enumerate(scores)
        ]
        return compare.arms(runs)

    return make


def test_an_arm_is_compared_seed_by_seed(arms):
    found = differences(arms(plain=[0.1, 0.5, 0.9], momentum=[0.2, 0.7, 1.2]), "plain")
    (only,) = found
    assert (only.arm, only.task, only.metric) == ("momentum", "test", "accuracy")
    assert only.difference.mean == pytest.approx(0.2)  # .1, .2, .3
    assert only.p == pytest.approx(1 - (12 / 14) ** 0.5)
    assert only.p_holm == only.p
    assert only.difference.n == 3


def test_seeds_that_only_one_arm_has_are_left_out(arms):
    (only,) = differences(arms(plain=[0.1, 0.5, 0.9], momentum=[0.2, 0.5]), "plain")
    assert only.difference.n == 2
    assert only.difference.mean == pytest.approx(0.05)


def test_a_baseline_that_is_not_there_or_has_no_seeds_in_common_is_named(arms):
    with pytest.raises(LabError, match="no baseline 'grpo'"):
        differences(arms(plain=[0.1, 0.2], momentum=[0.1, 0.2]), "grpo")
    compared = arms(plain=[0.1, 0.2], momentum=[0.3])
    apart = [replace(compared[0], runs=compared[0].runs[:1]), compared[1]]
    apart[1] = replace(apart[1], runs=apart[1].runs[1:])
    with pytest.raises(LabError, match="no arm has a seed in common with the baseline 'plain'"):
        differences(apart, "plain")


@pytest.mark.parametrize(
    ("labels", "name", "meant"),
    [
        (["grpo", "grpo lr=1"], "grpo", "grpo"),
        (["grpo lr=1", "rlrt"], "grpo", "grpo lr=1"),
        (["macql/bc_t", "stairs/stairs"], "bc_t", "macql/bc_t"),
        (["macql/bc_t lr=1", "macql/bc_r"], "bc_t", "macql/bc_t lr=1"),
        (["macql/bc_t", "stairs/bc_t"], "bc_t", None),
        (["grpo lr=1", "grpo lr=2"], "grpo", None),
        (["grpo_long", "rlrt path=a/grpo"], "grpo", None),
    ],
)
def test_a_method_names_the_only_arm_of_it(arms, labels, name, meant):
    (one,) = arms(plain=[0.1])
    compared = [replace(one, label=label) for label in labels]
    if meant is not None:
        assert baseline_of(compared, name) == meant
        return
    with pytest.raises(LabError, match=f"no baseline '{name}'"):
        baseline_of(compared, name)


def test_one_seed_in_common_is_paired_by_problem(make_run, event):
    # differences of the problems .1, .2, .3: t = 3.4641, as by seed; flipped, 2 of 8 are as far
    runs = [
        make_run(scored(event, items), method=method)
        for method, items in {"plain": [0.0, 0.5, 1.0], "momentum": [0.1, 0.7, 1.3]}.items()
    ]
    (only,) = differences(compare.arms(runs), "plain")
    assert (only.by, only.num_seeds, only.difference.n) == ("problems", 1, 3)
    assert only.difference.mean == pytest.approx(0.2)
    assert only.p == pytest.approx(1 - (12 / 14) ** 0.5)
    assert only.p_flip == 0.25


def test_a_mean_over_tasks_is_not_paired_by_task(make_run, event):
    runs = [
        make_run(
            scored(event, items), scored(event, items, "seen", over=["a", "b", "c"]), method=method
        )
        for method, items in {"plain": [0.0, 0.5, 1.0], "momentum": [0.1, 0.7, 1.3]}.items()
    ]
    assert [found.task for found in differences(compare.arms(runs), "plain")] == ["test"]


def scored(event, items, task="test", over=()):
    score = event.score(3, sum(items) / len(items), task=task, over=over)
    score["score"] |= {"items": items, "n": len(items)}
    return score


def test_the_table_is_written_as_csv(arms):
    found = differences(arms(plain=[0.1, 0.5, 0.9], momentum=[0.2, 0.7, 1.2]), "plain")
    (row,) = csv.DictReader(io.StringIO(to_csv(found, "plain")))
    assert row["baseline"] == "plain"
    assert float(row["difference"]) == pytest.approx(0.2)
    assert float(row["p_holm"]) == found[0].p_holm
    assert (float(row["p_sign_flip"]), row["paired_by"], row["num_pairs"]) == (0.25, "seeds", "3")


def test_a_p_that_is_not_there_is_an_empty_cell(arms):
    found = differences(arms(plain=[0.25, 0.5, 0.75], momentum=[0.5, 0.75, 1.0]), "plain")
    (row,) = csv.DictReader(io.StringIO(to_csv(found, "plain")))
    assert (row["difference"], row["p"], row["p_holm"]) == ("0.25", "", "")


def test_a_p_that_is_not_there_is_printed_as_a_dash(arms, capsys):
    found = differences(arms(plain=[0.25, 0.5, 0.75], momentum=[0.5, 0.75, 1.0]), "plain")
    compare_report.print_differences(found, "plain", Console(width=100))
    line = next(x for x in capsys.readouterr().out.splitlines() if "momentum" in x)
    assert line.split()[2:] == ["momentum", "0.250", "±", "0.000", "-", "-", "0.250"]


def test_the_command_prints_and_writes_the_differences(lab_here, home, make_run, event):
    for method, scores in {"plain": [0.1, 0.5, 0.9], "momentum": [0.2, 0.7, 1.2]}.items():
        for seed, value in enumerate(scores):
            make_run(event.score(3, value), seed=seed, method=method, root=home)
    done = lab_here("compare", "--group", "g", "--metric", "test/accuracy", "--baseline", "plain")
    assert done.returncode == 0, done.stderr
    assert "difference from plain, paired by seed" in done.stdout
    assert "0.200 ± 0.248" in done.stdout  # t 4.3027 times .1 / sqrt 3
    assert "cannot go below 0.25" in done.stdout
    assert (home / "compare" / "g" / "paired.csv").exists()
    refused = lab_here("compare", "--group", "g", "--baseline", "plan")
    assert refused.returncode == 2
    assert "no baseline 'plan'; did you mean 'plain'?" in refused.stderr

"""The runs of a plugin that is gone stay readable."""

import pytest


@pytest.fixture
def runs(make_run, event, home):
    def made(seed: int, method: str, last: float):
        events = [event.attempt(0), event.score(0, 0.25), event.metrics(1, loss=2.0)]
        return make_run(*events, event.score(3, last), seed=seed, method=method, plugin="gone")

    return [made(0, "plain", 0.5), made(1, "plain", 0.75), made(0, "other", 1.0)]


def test_compare_reads_its_runs_and_says_what_is_left_out(lab_here, runs):
    compared = lab_here("compare", "--group", "g")
    assert compared.returncode == 0, compared.stderr
    assert (
        "plugin gone is not installed here: its figures and its choice of curves are left out; "
        "--metric draws others" in compared.stdout
    )
    row = next(line for line in compared.stdout.splitlines() if line.startswith("test"))
    assert row.split()[:3] == ["test", "accuracy", "0.250"]
    assert "1.000" in row
    assert (runs[0].path.parent / "compare" / "g" / "scores.csv").exists()


def test_metrics_that_are_asked_for_are_drawn(lab_here, runs):
    compared = lab_here("compare", "--group", "g", "--metric", "test/accuracy")
    assert compared.returncode == 0, compared.stderr
    assert (runs[0].path.parent / "compare" / "g" / "curves.png").exists()


def test_runs_are_listed_and_shown(lab_here, runs):
    listed = lab_here("runs")
    assert listed.returncode == 0
    assert all(run.id in listed.stdout for run in runs)
    shown = lab_here("runs", "show", runs[0].id)
    assert shown.returncode == 0
    assert "test/accuracy" in shown.stdout


def test_a_run_of_it_cannot_go_on_and_says_why(lab_here, make_run, home):
    run = make_run(plugin="gone", state="failed")
    asked = lab_here("resume", run.id)
    assert asked.returncode == 2
    assert asked.stderr.startswith("lab: no plugin 'gone'; installed: ")
    assert asked.stderr.count("\n") == 1

"""`lab compare` as it is typed."""

import csv
import io
import json

import pytest


@pytest.fixture
def runs(home, make_run, event):
    """Two methods of three seeds in one group, and one of one seed in another."""
    for method, group, scores in (
        ("eps", "g", (0.1, 0.5, 0.9)),
        ("ucb", "g", (0.2, 0.7, 1.2)),
        ("far", "h", (0.3,)),
    ):
        for seed, value in enumerate(scores):
            events = [event.metrics(s, loss=1 / s) for s in (1, 2, 3)]
            make_run(
                *events, event.score(3, value), seed=seed, method=method, group=group, root=home
            )


def test_runs_of_several_groups_are_compared(lab_here, runs):
    done = lab_here("compare", "--plugin", "toy", "--format", "json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["columns"] == ["eps", "far", "ucb"]
    assert [row["interval"] for row in said["rows"]] == ["seeds", "problems", "seeds"]


def test_a_run_that_may_belong_to_the_group_and_cannot_be_read_is_named(lab_here, runs, home):
    bad = next(home.glob("toy-eps-s1-*"))
    (bad / "spec.json").write_text("{")
    done = lab_here("compare", "--group", "g", "--format", "md")
    assert done.returncode == 0
    line = f"lab: left out, their spec.json cannot be read: {bad.name}; `lab doctor` says why"
    assert line in done.stderr.splitlines()
    assert done.stdout.startswith("| task | metric | eps | ucb |\n")


def test_filters_are_combined(lab_here, runs):
    done = lab_here(
        "compare", "--method", "eps", "--method", "far", "--group", "g", "--format", "md"
    )
    assert done.returncode == 2
    assert "no run with method 'far'; " in done.stderr
    done = lab_here("compare", "--method", "ucb", "--group", "g", "--format", "md")
    assert done.stdout.startswith("| task | metric | ucb |\n")


def test_another_format_alone_is_on_standard_output(lab_here, runs, home):
    done = lab_here("compare", "--group", "g", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [row["arm"] for row in rows] == ["eps", "ucb"]
    assert not (home / "compare").exists()


def test_latex_marks_and_names_its_test(lab_here, runs):
    done = lab_here("compare", "--group", "g", "--baseline", "eps", "--format", "latex")
    assert r"\begin{tabular}{llrr}" in done.stdout
    assert r"t-test against eps, paired by seed" in done.stdout


def test_figures_are_written_where_they_are_asked_for(lab_here, runs, home, tmp_path):
    paths = [tmp_path / "out" / f"a.{ending}" for ending in ("svg", "pdf")]
    words = [word for path in paths for word in ("--figure", str(path))]
    done = lab_here("compare", "--group", "g", "--metric", "loss", *words, "--width", "column")
    assert done.returncode == 0, done.stderr
    assert all(path.exists() for path in paths)
    assert not (home / "compare" / "g" / "curves.png").exists()
    assert (home / "compare" / "g" / "scores.csv").exists()


def test_a_pareto_front_is_drawn_of_one_point_a_run(lab_here, runs, home):
    done = lab_here("compare", "--group", "g", "--plot", "pareto", "--metric", "test/accuracy")
    assert done.returncode == 0, done.stderr
    assert (home / "compare" / "g" / "pareto.png").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ("--format", "docx"),
            "no --format 'docx'; allowed: csv, json, latex, marl-eval, md, text",
        ),
        (("--interval", "seed"), "no --interval 'seed'; did you mean 'seeds'?"),
        (("--plot", "bars"), "no --plot 'bars'; allowed: curves, pareto"),
        (("--figure", "a.jpg"), "cannot draw 'a.jpg'; a figure's name ends in .png, .svg, .pdf"),
        (("--cost", "hours"), "no cost 'hours' of run "),
        (("--since", "soon"), "--since 'soon' is no time"),
        (("--score", "acuracy"), "no score 'acuracy'; did you mean 'accuracy'?"),
        (("--tag", "x"), "no run with tag 'x'; allowed: none"),
    ],
)
def test_a_word_that_is_none_is_refused_with_what_is_allowed(lab_here, runs, words, said):
    done = lab_here("compare", "--group", "g", *words)
    assert done.returncode == 2
    assert said in done.stderr


def test_the_interval_that_stands_in_the_table_is_named(lab_here, runs):
    over_seeds = lab_here("compare", "--group", "g", "--metric", "loss").stdout
    assert "mean over 3 seeds ± half the 95% t-interval over seeds, for the same" in over_seeds
    one = lab_here("compare", "--group", "h", "--metric", "loss").stdout
    assert "mean over 1 seed ± half the 95% t-interval over problems, for these trained" in one
    assert "an interval over problems says nothing of other seeds" in one
    drawn = lab_here(
        "compare", "--group", "g", "--interval", "bootstrap", "--metric", "loss"
    ).stdout
    assert "[low, high]: the 95% hierarchical bootstrap over seeds and problems" in drawn


@pytest.fixture
def on_two_tasks(home, make_run, event):
    """Two methods of two seeds, each scored on two tasks and on their mean."""
    for method, gain in (("eps", 0.0), ("ucb", 0.25)):
        for seed in (0, 1):
            scores = {"a": 0.25 + gain, "b": 0.5 + gain}
            events = [event.score(3, value, "win_rate", task) for task, value in scores.items()]
            mean = event.score(3, 0.375 + gain, "win_rate", "seen", over=["a", "b"])
            make_run(*events, mean, seed=seed, method=method, root=home)


def test_several_tasks_at_once_stand_below_the_table(lab_here, on_two_tasks, home):
    done = lab_here("compare", "--baseline", "eps")
    assert done.returncode == 0, done.stderr
    below = done.stdout.partition("over several tasks at once\n")[2].splitlines()
    assert below[1].split() == ["win_rate", "eps", "0.375", "±", "0.000", "0.375", "-"]
    assert below[2].split()[2:] == ["0.625", "±", "0.000", "0.625", "1.000"]
    assert below[3] == "over 2 tasks (a, b): win_rate"
    assert (home / "compare" / "g" / "profile.png").read_bytes().startswith(b"\x89PNG")


def test_one_task_has_no_line_about_several(lab_here, runs, home):
    done = lab_here("compare", "--group", "g", "--baseline", "eps")
    assert "several tasks" not in done.stdout
    assert not (home / "compare" / "g" / "profile.png").exists()


def test_a_profile_says_what_it_cannot_draw(lab_here, on_two_tasks, home, make_run, event):
    far = make_run(event.score(3, 0.5), method="far", group="h", root=home)
    for words, said in (
        (["--group", "g", "--metric", "win"], "no rate on several tasks 'win'; allowed: win_rate"),
        (
            ["--group", "g", "--cost", "steps"],
            "--plot profile stands over scores; leave --cost out",
        ),
        ([far.id], "--plot profile needs a rate, such as accuracy or win_rate, on two"),
    ):
        done = lab_here("compare", "--plot", "profile", *words)
        assert done.returncode == 2
        assert said in done.stderr


def test_archived_runs_are_counted_and_taken_in_when_asked_for(lab_here, runs, home):
    assert lab_here("runs", "archive", "--filter", "method=eps seed=0,1").returncode == 0
    done = lab_here("compare", "--group", "g", "--format", "json")
    assert "lab: 2 archived runs are left out; --archived takes them in\n" in done.stderr
    assert [len(found) for found in json.loads(done.stdout)["runs"].values()] == [1, 3]
    done = lab_here("compare", "--group", "g", "--format", "json", "--archived")
    assert "archived" not in done.stderr
    assert [len(found) for found in json.loads(done.stdout)["runs"].values()] == [3, 3]

"""Which runs a command means."""

import json
import time
from dataclasses import replace

import pytest
from labrun.errors import LabError
from labrun.runs import notes
from labrun.runs.selection import Wanted, selected, time_of


@pytest.fixture
def root(make_run, tmp_path):
    """Runs of two plugins, two methods and two groups; the second has a tag."""
    make_run(plugin="toy", method="eps", group="a")
    tagged = make_run(plugin="toy", method="ucb", group="b", seed=1)
    make_run(plugin="other", method="ucb", group="b", seed=2)
    (tagged.path / "notes.json").write_text(json.dumps({"tags": ["paper", "x"], "note": ""}))
    return tmp_path / "home"


def seeds(runs):
    return sorted(run.experiment().run.seed for run in runs)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (Wanted(plugins=["toy"]), [0, 1]),
        (Wanted(methods=["ucb"]), [1, 2]),
        (Wanted(methods=["ucb", "eps"]), [0, 1, 2]),
        (Wanted(groups=["b"], plugins=["other"]), [2]),
        (Wanted(groups=["b", "a"]), [0, 1, 2]),
        (Wanted(tags=["paper"]), [1]),
        (Wanted(since=0.5), [0, 1, 2]),
    ],
)
def test_every_kind_of_wish_holds(root, wanted, expected):
    assert seeds(selected([], wanted, root).runs) == expected


def test_without_a_wish_it_is_the_newest_group(root):
    assert seeds(selected([], Wanted(), root).runs) == [1, 2]


def test_named_runs_are_chosen_among(root):
    names = [run.id for run in selected([], Wanted(groups=["b"]), root).runs]
    assert seeds(selected(names, Wanted(), root).runs) == [1, 2]
    assert seeds(selected(names, Wanted(plugins=["toy"]), root).runs) == [1]


def test_what_no_run_has_is_refused_with_what_there_is(root):
    with pytest.raises(LabError, match="no run with method 'ubc'; did you mean 'ucb'"):
        selected([], Wanted(methods=["ubc"]), root)
    with pytest.raises(LabError, match="no run with tag 'papers'; did you mean 'paper'"):
        selected([], Wanted(tags=["papers"]), root)
    with pytest.raises(LabError, match="no run with plugin 'other'; "):
        selected([], Wanted(plugins=["other"], groups=["a"]), root)
    with pytest.raises(LabError, match="no group 'c'"):
        selected([], Wanted(groups=["c"]), root)
    with pytest.raises(LabError, match=r"--plugin toy --since .*: no run has all of these"):
        selected([], Wanted(plugins=["toy"], since=time.time() + 60), root)


def test_an_empty_home_says_how_to_make_a_run(tmp_path):
    with pytest.raises(LabError, match="there are no runs in"):
        selected([], Wanted(plugins=["toy"]), tmp_path / "home")


def test_a_damaged_run_hides_no_other(root, make_run):
    bad = make_run(plugin="toy", group="a", seed=7)
    (bad.path / "spec.json").write_text("{")
    (bad.path / "notes.json").write_text("[1")
    found = selected([], Wanted(plugins=["toy"]), root)
    assert (seeds(found.runs), found.unread) == ([0, 1], [bad.id])
    assert selected([], Wanted(), root).unread == [bad.id]
    assert selected([found.runs[0].id], Wanted(), root).unread == ()


def test_archived_runs_are_left_out_unless_they_are_named(root):
    (first, *_) = selected([], Wanted(plugins=["toy"]), root).runs
    notes.change(first.path, archived=True)
    assert seeds(selected([], Wanted(plugins=["toy"]), root).runs) == [1]
    assert seeds(selected([first.id], Wanted(plugins=["toy"]), root).runs) == [0]


def test_times_are_dates_or_spans():
    assert time_of("90m", now=10_000.0) == 10_000 - 5400
    assert time_of("2d", now=200_000.0) == 200_000 - 2 * 86400
    assert time.localtime(time_of("2026-11-25"))[:5] == (2026, 11, 25, 0, 0)
    assert time.localtime(time_of("2026-11-25 14:30"))[:5] == (2026, 11, 25, 14, 30)
    with pytest.raises(LabError, match="--since 'yesterday' is no time; write a date"):
        time_of("yesterday")


def test_archived_runs_are_left_out_and_counted(root, make_run):
    (first,) = selected([], Wanted(groups=["b"], plugins=["toy"]), root).runs
    notes.change(first.path, archived=True)
    for wanted in (Wanted(), Wanted(methods=["ucb"]), Wanted(groups=["b"])):
        found = selected([], wanted, root)
        assert (seeds(found.runs), found.num_archived) == ([2], 1)
        both = selected([], replace(wanted, archived=True), root)
        assert (seeds(both.runs), both.num_archived) == ([1, 2], 0)
    assert selected([], Wanted(groups=["b"], since=time.time() - 60), root).num_archived == 1
    assert selected([first.id], Wanted(), root).num_archived == 0
    with pytest.raises(LabError, match="every run with tag 'paper' is archived; --archived takes"):
        selected([], Wanted(methods=["ucb"], tags=["paper"]), root)

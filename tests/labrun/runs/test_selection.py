"""Which runs a command means."""

import json
import time
from dataclasses import replace

import pytest
from labrun.errors import LabError
from labrun.runs import index_file, notes
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


def test_a_run_that_is_named_twice_is_meant_once(root):
    first, second = (run.id for run in selected([], Wanted(groups=["b"]), root).runs)
    for wanted in (Wanted(), Wanted(methods=["ucb"])):
        runs = selected([second, first, second, str(root / first)], wanted, root).runs
        assert [run.id for run in runs] == [second, first]


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


def test_a_damaged_run_that_is_named_beside_a_filter_is_said_to_be_unread(root, make_run):
    bad, other = (make_run(plugin="toy", group="a", seed=seed) for seed in (7, 8))
    for run in (bad, other):
        (run.path / "spec.json").write_text("{")
    (sound,) = selected([], Wanted(groups=["a"]), root).runs
    found = selected([sound.id, bad.id], Wanted(plugins=["toy"]), root)
    assert (seeds(found.runs), found.unread) == ([0], [bad.id])  # the other one was not asked for
    assert selected([sound.id], Wanted(plugins=["toy"]), root).unread == []


def test_whatever_is_asked_of_all_runs_the_unread_ones_are_named(root, make_run):
    bad = make_run(plugin="toy", group="a", seed=7)
    (bad.path / "spec.json").write_text("{")
    for wanted in (Wanted(groups=["b"]), Wanted(methods=["ucb"]), Wanted(archived=True)):
        assert selected([], wanted, root).unread == [bad.id]


def test_names_that_no_run_has_are_refused_beside_a_damaged_run(root, make_run):
    (make_run(seed=7).path / "spec.json").write_text("{")
    with pytest.raises(LabError, match="no run with plugin 'tox'; did you mean 'toy'"):
        selected([], Wanted(plugins=["tox"]), root)


def test_runs_of_several_groups_come_once_and_the_oldest_first(root, make_run):
    make_run(group="a", seed=3)
    runs = selected([], Wanted(groups=["b", "a", "b"]), root).runs
    assert [run.experiment().run.seed for run in runs] == [0, 1, 2, 3]


def test_of_a_group_no_status_of_another_run_is_read(make_run, tmp_path):
    home = tmp_path / "home"
    runs = [make_run(seed=seed, group="a") for seed in range(index_file.WORTH_WRITING)]
    found = selected([], Wanted(groups=["a"]), home)
    assert ([run.path for run in found.runs], found.unread) == ([run.path for run in runs], [])
    known = index_file.read(home / index_file.FILE)
    assert {one.recorded for one in known.values()} == {None}


def created(run, seconds):
    spec = json.loads((run.path / "spec.json").read_text())
    (run.path / "spec.json").write_text(json.dumps(spec | {"created": seconds}))


def test_only_runs_from_then_on_are_meant(root, make_run):
    old, hidden = make_run(seed=5), make_run(seed=6)
    notes.change(hidden.path, archived=True)
    for run in (old, hidden):
        created(run, 1000.0)
    found = selected([], Wanted(since=1001.0), root)
    assert (seeds(found.runs), found.num_archived) == ([0, 1, 2], 0)
    found = selected([], Wanted(since=1000.0), root)
    assert (seeds(found.runs), found.num_archived) == ([0, 1, 2, 5], 1)


def test_archived_runs_count_where_they_are_meant_too(root, make_run):
    notes.change(make_run(method="eps", plugin="other").path, archived=True)
    assert selected([], Wanted(methods=["ucb"]), root).num_archived == 0
    assert selected([], Wanted(methods=["eps"]), root).num_archived == 1
    assert selected([], Wanted(plugins=["toy"], methods=["eps"]), root).num_archived == 0


def test_where_every_run_that_is_meant_is_archived_the_option_is_named(root):
    for run in selected([], Wanted(groups=["b"]), root).runs:
        notes.change(run.path, archived=True)
    with pytest.raises(LabError, match=r"^every run of group 'b' is archived; --archived takes"):
        selected([], Wanted(groups=["b"]), root)
    with pytest.raises(LabError, match=r"^every run with method 'ucb' is archived; --archived"):
        selected([], Wanted(methods=["eps", "ucb"]), root)
    (last,) = selected([], Wanted(since=1.0), root).runs
    notes.change(last.path, archived=True)
    created(last, latest := time.time() + 30)
    with pytest.raises(LabError, match=r"^--since .*: every such run is archived; --archived"):
        selected([], Wanted(since=latest), root)
    with pytest.raises(LabError, match="no run has all of these"):
        selected([], Wanted(since=time.time() + 60), root)


def test_an_empty_choice_repeats_every_wish(root):
    late = time.mktime((2100, 1, 2, 3, 4, 0, 0, 0, -1))
    wanted = Wanted(["toy"], ["ucb"], ["b"], ["x"], since=late)
    words = "--plugin toy --method ucb --group b --tag x --since 2100-01-02 03:04: no run has"
    with pytest.raises(LabError, match=words):
        selected([], wanted, root)


def test_archived_runs_are_left_out_unless_they_are_named(root):
    (first, *_) = selected([], Wanted(plugins=["toy"]), root).runs
    notes.change(first.path, archived=True)
    assert seeds(selected([], Wanted(plugins=["toy"]), root).runs) == [1]
    assert seeds(selected([first.id], Wanted(plugins=["toy"]), root).runs) == [0]


def test_times_are_dates_or_spans():
    assert time_of("90m", now=10_000.0) == 10_000 - 5400
    assert time_of(" 2d ", now=200_000.0) == 200_000 - 2 * 86400
    assert time_of("3h", now=20_000.0) == 20_000 - 3 * 3600
    assert time_of("1w", now=700_000.0) == 700_000 - 7 * 86400
    assert time.time() - 60 - time_of("1m") < 5
    assert time.localtime(time_of("2026-11-25"))[:5] == (2026, 11, 25, 0, 0)
    assert time.localtime(time_of("2026-11-25 14:30"))[:5] == (2026, 11, 25, 14, 30)
    assert time.localtime(time_of("2026-11-25T14:30 "))[3:5] == (14, 30)
    assert time.localtime(time_of("2026-11-25T14:30:09"))[3:6] == (14, 30, 9)
    with pytest.raises(LabError) as refused:
        time_of("yesterday")
    assert str(refused.value) == (
        "--since 'yesterday' is no time; write a date (2026-11-25, '2026-11-25 14:00') or a span "
        "before now (90m, 12h, 2d, 1w)"
    )


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

import json
import os
import socket
import subprocess
import sys
import time

import pytest
from labrun.errors import LabError
from labrun.runs import run_dir, run_index


def test_create_leaves_nothing_under_the_run_s_name_until_it_is_complete(
    make_run, monkeypatch, tmp_path
):
    def full_disk(*_):
        raise OSError("no space left")

    monkeypatch.setattr(run_dir, "write_json", full_disk)
    with pytest.raises(OSError, match="no space"):
        make_run()
    assert run_dir.all_runs(tmp_path / "home") == []


def test_half_created_runs_are_not_listed(make_run, tmp_path):
    run = make_run()
    draft = run.path.with_name(".new-toy-plain-s1")
    draft.mkdir()
    (draft / "spec.json").write_text((run.path / "spec.json").read_text())
    assert run_dir.all_runs(run.path.parent) == [run]


def test_a_new_run_is_named_by_plugin_method_and_seed(make_run):
    run = make_run(seed=7, method="plain")
    assert run.id.startswith("toy-plain-s7-")
    assert run.experiment().run.seed == 7
    assert sorted(p.name for p in run.path.iterdir()) == [
        "artifacts",
        "checkpoints",
        "events.jsonl",
        "spec.json",
        "status.json",
    ]


def test_two_runs_of_one_configuration_have_two_directories_and_one_hash(make_run):
    first, second = make_run(), make_run()
    assert first.id != second.id
    assert run_dir.config_hash(first.experiment()) == run_dir.config_hash(second.experiment())
    assert run_dir.config_hash(make_run(seed=1).experiment()) != run_dir.config_hash(
        first.experiment()
    )


def test_running_status_of_a_dead_process_reads_killed(make_run):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    run = make_run()
    run.write_status(state="running", pid=gone.pid, host=socket.gethostname(), started=time.time())
    assert run.status().state == "killed"
    assert run.status().message == "its process is gone"


def test_running_status_of_a_living_process_reads_running(make_run):
    run = make_run()
    run.write_status(
        state="running", pid=os.getpid(), host=socket.gethostname(), started=time.time()
    )
    assert run.status().state == "running"


def test_pid_taken_over_by_a_younger_process_reads_killed(make_run):
    run = make_run()
    run.write_status(state="running", pid=os.getpid(), host=socket.gethostname(), started=1000.0)
    assert run.status().state == "killed"


def test_running_status_of_another_machine_is_believed(make_run):
    run = make_run()
    run.write_status(state="running", pid=2**22 + 1, host="elsewhere", started=1.0)
    assert run.status().state == "running"


def test_write_status_changes_only_what_is_given(make_run):
    run = make_run()
    run.write_status(state="running", attempt=2, step=5)
    status = run.write_status(message="stopped")
    assert (status.state, status.attempt, status.step, status.message) == (
        "running",
        2,
        5,
        "stopped",
    )


def test_truncated_last_event_line_is_passed_over(make_run, event):
    run = make_run(event.metrics(1, loss=3.0), event.metrics(2, loss=2.0))
    path = run.path / "events.jsonl"
    path.write_bytes(path.read_bytes()[:-7])
    assert run.series() == {"loss": {1: 3.0}}


def test_replayed_steps_have_the_last_attempt_s_values(make_run, event):
    run = make_run(
        event.attempt(0),
        event.metrics(1, loss=9.0),
        event.metrics(2, loss=8.0),
        event.metrics(3, loss=7.0),
        event.score(3, 0.1),
        event.attempt(1, resumed_from=2),
        event.metrics(3, loss=6.5),
    )
    assert run.series() == {"loss": {1: 9.0, 2: 8.0, 3: 6.5}}
    assert run.scores() == {}


def test_steps_beyond_the_resumed_one_vanish_until_they_are_replayed(make_run, event):
    run = make_run(
        event.attempt(0),
        *(event.metrics(step, loss=float(step)) for step in (1, 2, 3, 4)),
        event.attempt(1, resumed_from=2),
    )
    assert run.series() == {"loss": {1: 1.0, 2: 2.0}}


def test_attempt_from_the_start_forgets_all_earlier_steps(make_run, event):
    run = make_run(
        event.attempt(0),
        event.metrics(1, loss=9.0),
        event.score(0, 0.3),
        event.attempt(1, resumed_from=None),
        event.metrics(1, loss=4.0),
    )
    assert run.series() == {"loss": {1: 4.0}}
    assert run.scores() == {}


def test_scores_are_kept_by_step_with_their_items(make_run, event):
    run = make_run(event.score(0, 0.25), event.score(3, 0.75))
    scores = run.scores()["test", "accuracy"]
    assert {step: score.value for step, score in scores.items()} == {0: 0.25, 3: 0.75}
    assert (scores[3].n, list(scores[3].items)) == (4, [0.75] * 4)


def test_edited_spec_is_refused(make_run):
    run = make_run()
    spec = json.loads((run.path / "spec.json").read_text())
    spec["experiment"]["settings"]["trainer"]["max_steps"] = 4
    (run.path / "spec.json").write_text(json.dumps(spec))
    with pytest.raises(LabError, match=r"spec\.json was edited; start a new run instead"):
        run.experiment()


def test_damaged_spec_is_named(make_run):
    run = make_run()
    (run.path / "spec.json").write_text('{"version": 1, "crea')
    with pytest.raises(LabError, match=r"spec\.json cannot be read"):
        run.experiment()
    assert run_dir.all_runs(run.path.parent) == [run]


def test_find_takes_an_id_its_beginning_a_path_or_last(make_run):
    first, second = make_run(seed=1), make_run(seed=2)
    root = first.path.parent
    assert run_index.find(first.id, root) == first
    assert run_index.find("toy-plain-s1", root) == first
    assert run_index.find(str(first.path), root) == first
    assert run_index.find("last", root) == second


def test_find_names_the_candidates_of_an_ambiguous_beginning(make_run):
    first, second = make_run(seed=1), make_run(seed=2)
    with pytest.raises(LabError) as error:
        run_index.find("toy", first.path.parent)
    assert str(error.value) == f"run 'toy' could be {first.id}, {second.id}"


def test_find_in_an_empty_home_says_what_to_do(tmp_path):
    with pytest.raises(LabError, match=r"no run 'last': there are none in .*; `lab run plugin="):
        run_index.find("last", tmp_path)


def test_select_takes_the_newest_run_s_group_by_default(make_run):
    make_run(group="old")
    new = [make_run(group="new", seed=0), make_run(group="new", seed=1)]
    root = new[0].path.parent
    assert run_index.select([], None, root) == new
    with pytest.raises(LabError, match="no group 'od'; did you mean 'old'"):
        run_index.select([], "od", root)


def test_home_is_labrun_home_or_runs_here(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LABRUN_HOME", raising=False)
    assert run_dir.home() == tmp_path / "runs"
    monkeypatch.setenv("LABRUN_HOME", str(tmp_path / "there"))
    assert run_dir.home() == tmp_path / "there"


def test_a_name_that_is_taken_is_not_given_twice(make_run, monkeypatch):
    tokens = iter(["0000", "0000", "0000", "0001"])
    monkeypatch.setattr(run_dir.time, "strftime", lambda *_: "20260101-000000")
    monkeypatch.setattr(run_dir.secrets, "token_hex", lambda _: next(tokens))
    made = [make_run() for _ in range(2)]
    names = ["toy-plain-s0-20260101-000000-0000", "toy-plain-s0-20260101-000000-0001"]
    assert [run.id for run in made] == names
    assert sorted(path.name for path in made[0].path.parent.iterdir()) == names


def test_a_home_without_a_free_name_is_said_in_one_line(make_run, monkeypatch):
    monkeypatch.setattr(run_dir.time, "strftime", lambda *_: "20260101-000000")
    monkeypatch.setattr(run_dir.secrets, "token_hex", lambda _: "0000")
    make_run()
    with pytest.raises(LabError, match=r"no free name for a run toy-plain-s0 in .* try again"):
        make_run()

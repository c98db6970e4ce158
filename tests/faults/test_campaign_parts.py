"""What the fault campaign counts: planted faults are found, each by its name, and no other."""

import fcntl
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections import Counter

import pytest
from campaign import record, remains, store
from campaign.commands import MARK, Command, processes_of, strike
from campaign.findings import Findings
from campaign.kills import MOMENTS, SIGNALS, TARGETS, Kill, Watch, kills_of
from campaign.on_ray import OnRay
from campaign.on_slurm import OnSlurm
from campaign.places import Here
from campaign.subjects import ROUND, SUBJECTS, subject_of
from campaign.trial import Trial, Whole

SLEEP = [sys.executable, "-c", "import time; print(1, flush=True); time.sleep(600)"]


def event(kind, **values):
    return {"time": 1.0, "kind": kind, **values}


def metrics(step, **values):
    return event("metrics", step=step, metrics=values)


def score(step, value):
    of = {"task": "held_out", "metric": "mse", "value": value, "n": 1, "items": [value]}
    return event("score", step=step, score=of)


def write_run(home, events, *, weights="w", state="done"):
    run = home / "example-plain-s0"
    (run / "artifacts").mkdir(parents=True)
    (run / "spec.json").write_text("{}")
    (run / "status.json").write_text(json.dumps({"state": state, "devices": []}))
    (run / "events.jsonl").write_text("".join(json.dumps(e) + "\n" for e in events))
    (run / "artifacts" / "model").write_text(weights)
    return run


def write_store(home, points, *, runs=(("1", "FINISHED"),), run_id="example-plain-s0"):
    database = sqlite3.connect(home / "mlflow.db")
    database.execute("create table runs (run_uuid, status, lifecycle_stage)")
    database.execute("create table tags (run_uuid, key, value)")
    database.execute("create table metrics (run_uuid, key, step, value, is_nan)")
    for uuid, status in runs:
        database.execute("insert into runs values (?, ?, 'active')", (uuid, status))
        database.execute("insert into tags values (?, 'labrun.id', ?)", (uuid, run_id))
    rows = [("1", "loss", step, value, nan) for step, value, nan in points]
    database.executemany("insert into metrics values (?, ?, ?, ?, ?)", rows)
    database.commit()
    database.close()


WHOLE = [event("attempt", attempt=0, resumed_from=None), score(0, 5.0)]
WHOLE += [metrics(1, loss=3.0), metrics(2, loss=2.0), score(2, 1.0)]
STORED = [(0, 5.0, 0), (1, 3.0, 0), (2, 2.0, 0), (2, 1.0, 0)]


def found_of(tmp_path, events, *, weights="w", points=STORED, runs=(("1", "FINISHED"),)):
    """The faults of a finished trial whose run ended like this, beside one that ended as WHOLE."""
    whole = write_run(tmp_path / "whole", WHOLE)
    write_run(tmp_path / "trial" / "home", events, weights=weights)
    write_store(tmp_path / "trial" / "home", points, runs=runs)
    end = Whole(record.read(whole, weights=["artifacts/*"]), seconds=1.0, num_events=5)
    subject = SUBJECTS["example"]
    subject = type(subject)("example", (), ("artifacts/*",), ())
    found = Trial(subject, [], end, tmp_path / "trial", [], catch_up_s=0.0).play()
    return {name: count for name, count in found.counts.items() if name != "trials"}


def test_an_equal_end_has_no_fault(tmp_path):
    assert found_of(tmp_path, WHOLE) == {}


def test_steps_that_an_attempt_replayed_count_once_with_its_values(tmp_path):
    replayed = [*WHOLE[:3], metrics(2, loss=9.0), event("attempt", attempt=1, resumed_from=1)]
    assert found_of(tmp_path, [*replayed, *WHOLE[3:]]) == {}


def test_other_weights_are_found(tmp_path):
    assert found_of(tmp_path, WHOLE, weights="v") == {"weights": 1}


def test_a_metric_that_differs_and_one_that_is_absent_are_found_each(tmp_path):
    events = [*WHOLE[:2], metrics(1, loss=3.5), WHOLE[4]]
    points = [(0, 5.0, 0), (1, 3.5, 0), (2, 1.0, 0)]
    assert found_of(tmp_path, events, points=points) == {"metrics": 2}


def test_a_score_that_differs_is_found(tmp_path):
    points = [*STORED[:3], (2, 1.5, 0)]
    assert found_of(tmp_path, [*WHOLE[:4], score(2, 1.5)], points=points) == {"scores": 1}


def test_points_that_the_store_lacks_or_has_twice_are_counted(tmp_path):
    points = [STORED[0], STORED[0], STORED[1], (2, 2.5, 0), STORED[3]]
    assert found_of(tmp_path, WHOLE, points=points) == {"lacking": 1, "twice": 2}


def test_a_run_that_the_store_does_not_know_lacks_all_its_points_and_its_state(tmp_path):
    assert found_of(tmp_path, WHOLE, points=[], runs=()) == {"lacking": 4, "states": 1}


def test_a_state_of_the_store_that_is_not_the_runs_is_found(tmp_path):
    assert found_of(tmp_path, WHOLE, runs=(("1", "RUNNING"),)) == {"states": 1}


def test_a_value_that_is_not_finite_is_one_point_of_the_store(tmp_path):
    write_store(tmp_path, [(1, 0.0, 1), (2, 2.0, 0)])
    points, statuses = store.stored(tmp_path, "example-plain-s0")
    assert points == store.expected({("loss", 1): "Infinity", ("loss", 2): 2})
    assert statuses == ["FINISHED"]


def test_a_process_in_a_session_of_its_own_is_found_by_its_mark_and_ended(tmp_path):
    marked = os.environ | {MARK: str(tmp_path)}
    with subprocess.Popen(SLEEP, env=marked, stdout=subprocess.PIPE, start_new_session=True) as one:
        assert one.stdout is not None
        one.stdout.readline()
        assert [process.pid for process in processes_of(tmp_path)] == [one.pid]
        (named,) = remains.left_processes(tmp_path, patience_s=0.0)
        assert named.startswith(f"{one.pid} ")
        assert one.wait() == -9
    assert remains.left_processes(tmp_path, patience_s=0.0) == []


def test_a_lock_that_is_held_is_found_by_its_file_and_by_its_holder(tmp_path):
    (tmp_path / "home").mkdir()
    with open(tmp_path / "home" / ".lock", "w") as lock, open(tmp_path / "other", "w") as other:
        assert remains.left_locks(tmp_path / "home", pids=[]) == []
        fcntl.flock(lock, fcntl.LOCK_EX)
        (named,) = remains.left_locks(tmp_path / "home", pids=[], patience_s=0.0)
        assert named == f"{tmp_path / 'home' / '.lock'} by {os.getpid()}"
        fcntl.flock(other, fcntl.LOCK_EX)
        inode = os.stat(tmp_path / "other").st_ino
        mine = remains.left_locks(tmp_path / "home", pids=[os.getpid()], patience_s=0.0)
        assert f"inode {inode} by {os.getpid()}" in mine
    assert remains.left_locks(tmp_path / "home", pids=[]) == []


def kill(moment, at=0.0, stage=""):
    return Kill(moment, at, stage, 0.0, "command", SIGNALS[0])


def test_each_moment_comes_when_the_files_say_so(tmp_path):
    write_run(tmp_path, WHOLE[:1], state="running")
    run = tmp_path / "example-plain-s0"
    watch = Watch(tmp_path, seconds=3600.0, num_events=4)
    kills = [kill("event", 0.3), kill("stage", stage="train"), kill("draft"), kill("store")]
    kills += [kill("ending"), kill("clock", 0.5)]

    def come():
        return [one.moment for one in kills if watch.reached(one)]

    assert come() == []
    with open(run / "events.jsonl", "a") as lines:
        lines.write("{}\n{}\n")
    assert come() == ["event"]
    (run / "progress.json").write_text(json.dumps({"time": time.time() - 60, "stage": "train"}))
    assert come() == ["event"]
    (run / "progress.json").write_text(json.dumps({"time": time.time() + 1, "stage": "train"}))
    (run / "checkpoints" / ".draft-00000002").mkdir(parents=True)
    (tmp_path / "mlflow.db").touch()
    assert come() == ["event", "stage", "draft", "store"]
    (run / "status.json").write_text('{"state": "done"}')
    watch = Watch(tmp_path, seconds=0.0, num_events=4)
    assert come() == ["stage", "ending", "clock"]
    shutil.rmtree(run / "checkpoints" / ".draft-00000002")
    assert Watch(tmp_path, seconds=1.0, num_events=1).reached(kill("draft")) is False


def test_a_target_that_is_not_there_yet_is_what_starts_it(tmp_path):
    for target in {*TARGETS, "rank 0", "rank 1"}:
        command = Command(("doctor",), tmp_path / target, [])
        strike(target, SIGNALS[0], command=command)
        assert command.wait(60.0) == -9


def test_the_same_seed_gives_the_same_kills_and_all_kinds_come():
    plans = [kills_of(subject_of(seed), seed=seed) for seed in range(120)]
    assert plans == [kills_of(subject_of(seed), seed=seed) for seed in range(120)]
    kills = [one for plan in plans for one in plan]
    assert {one.moment for one in kills} == set(MOMENTS)
    assert {one.signal for one in kills} == set(SIGNALS)
    assert {one.target for one in kills} == {*TARGETS, "rank 0", "rank 1"}
    assert Counter(map(len, plans)).keys() == {1, 2, 3}


def test_every_subject_has_its_turn_in_twelve_seeds_or_in_ten_of_a_cluster():
    here = {subject_of(seed).name for seed in range(12)}
    slurm = {subject_of(seed, OnSlurm.turns).name for seed in range(10)}
    assert here | slurm == set(SUBJECTS)
    assert here & slurm == {"stairs", "rlrt"}
    assert (len(ROUND), len(OnSlurm.turns)) == (12, 10)
    assert OnRay.turns == OnSlurm.turns


@pytest.mark.parametrize("place", [OnSlurm, OnRay])
def test_on_a_cluster_all_kinds_of_kills_come(place):
    plans = [
        kills_of(subject_of(seed, place.turns), seed=seed, targets=place.targets)
        for seed in range(120)
    ]
    assert {one.target for plan in plans for one in plan} == set(place.targets)


def test_a_node_is_not_lost_by_a_signal():
    said = Kill("clock", 0.5, "train", 0.0, "node", SIGNALS[0])
    assert str(said) == "node at clock 0.50 + 0.00 s"


class AfterKills(Here):
    """A place whose runs go on by themselves after some kills, and not after others."""

    def __init__(self, *, may_end):
        self.may_end = may_end

    def may_end_with(self, kill, *, home):
        return self.may_end

    def strike(self, kill, *, command):
        return True


@pytest.mark.parametrize(("may_end", "states"), [(True, 0), (False, 1)])
def test_a_run_that_should_go_on_by_itself_and_does_not_is_a_wrong_state(tmp_path, may_end, states):
    write_run(tmp_path / "home", WHOLE, state="killed")
    end = Whole(record.Record({}, {}, {}, {}), seconds=1.0, num_events=5)
    place = AfterKills(may_end=may_end)
    trial = Trial(SUBJECTS["example"], [], end, tmp_path, [], place)
    command = Command(("--help",), tmp_path, [])
    assert command.wait(60.0) == 0
    trial._strike_in_time([kill("clock")], Watch(trial.home, seconds=0.0, num_events=1), command)
    trial._look_around(struck=True)
    assert trial.found.counts["kills"] == 1
    assert trial.found.counts["states"] == states


def test_the_line_says_what_was_done_and_every_fault():
    found = Findings()
    found.count("trials")
    found.fault("locks", "one", times=0)
    assert found.clean
    found.fault("lacking", "two points", times=2)
    assert not found.clean
    assert found.sentences == ["two points"]
    assert found.line() == (
        "1 trials, 0 kills, 0 resumes: 0 different weights, 0 metrics, 0 scores, 2 points that "
        "MLflow lacks, 0 it has twice, 0 wrong states, 0 processes left, 0 locks left"
    )

"""One damaged or contested run harms no other."""

import errno
import fcntl
import json
import os
import subprocess
import sys
import threading
import warnings

import pytest
from labrun.config.components import build
from labrun.config.experiments import compose
from labrun.errors import LabError
from labrun.experiment import ResourcesConfig
from labrun.launch import session
from labrun.results.store import LiveMirror, check_uri, is_sound
from labrun.runs import checkpoints, run_dir, run_index


def test_saving_keeps_a_good_checkpoint_where_a_later_one_is_damaged(tmp_path):
    def write(folder):
        (folder / "weights").write_text("x")

    for step in (25, 50, 75):
        checkpoints.save(tmp_path, step, write, keep=3)
    for step in (50, 75):
        (tmp_path / f"{step:08d}" / "weights").write_text("damaged")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert checkpoints.latest(tmp_path).name == "00000025"
    checkpoints.save(tmp_path, 30, write, keep=2)
    assert [p.name for p in sorted(tmp_path.iterdir())] == ["00000025", "00000030"]
    assert checkpoints.latest(tmp_path).name == "00000030"


@pytest.mark.parametrize("text", ["[]", "5", '{"sha256": null}', ""])
def test_any_damage_of_a_manifest_is_a_named_fault(tmp_path, text):
    (tmp_path / "manifest.json").write_text(text)
    assert "manifest.json cannot be read" in checkpoints.fault_of(tmp_path)


def test_a_run_is_in_one_process_at_a_time(make_run):
    run = make_run(state="failed")
    handle = run.claim()
    with pytest.raises(LabError, match="in the hands of another"):
        run.claim()
    os.close(handle)
    os.close(run.claim())


def refuse_locks(monkeypatch) -> None:
    """As a network file system does that is mounted without locks."""

    def flock(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", flock)


def test_a_claim_where_there_are_no_locks_is_refused_and_keeps_no_handle(make_run, monkeypatch):
    run = make_run(state="failed")
    refuse_locks(monkeypatch)
    before = os.listdir("/proc/self/fd")
    with pytest.raises(LabError) as refused:
        run.claim()
    assert str(refused.value) == (
        f"the file system of {run.path} gives no locks (No locks available); mount it with flock, "
        "or set LABRUN_HOME to a folder that has them"
    )
    assert os.listdir("/proc/self/fd") == before


def test_no_run_is_made_where_there_are_no_locks(lab_here, home, example, monkeypatch):
    refuse_locks(monkeypatch)
    done = lab_here("run", "plugin=example")
    assert done.returncode == 2
    assert done.stderr.startswith(f"lab: the file system of {home.parent} gives no locks (No locks")
    assert not home.exists()
    assert list(home.parent.glob(".lock-*")) == []


def test_a_claim_ends_with_its_process(make_run):
    run = make_run(state="failed")
    code = (
        "import pathlib, sys, time; from labrun.runs.run_dir import RunDir;"
        "RunDir(pathlib.Path(sys.argv[1])).claim(); print('claimed', flush=True); time.sleep(600)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(run.path)], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "claimed\n"
        with pytest.raises(LabError):
            run.claim()
        holder.kill()
    os.close(run.claim())


def test_restart_of_a_done_run_moves_nothing(make_run, tmp_path):
    run = make_run()
    with pytest.raises(LabError, match="is done and cannot be resumed"):
        session.resume([run], tmp_path, None, restart=True)
    assert run.checkpoints.exists()
    assert not list(run.path.glob("checkpoints.aside-*"))


def test_a_run_of_a_silent_other_host_reads_as_killed(make_run):
    run = make_run()
    run.write_status(state="running", host="gone", pid=1)
    assert run.status().state == "running"
    old = os.path.getmtime(run.path / "spec.json") - run_dir.SILENCE_S - 1
    for name in ("spec.json", "events.jsonl"):
        os.utime(run.path / name, (old, old))
    assert run.status().state == "killed"
    assert run.status().message == "no sign of life from gone"


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"devices": 3}'])
def test_a_damaged_status_reads_as_unreadable_and_can_be_written_again(make_run, text):
    run = make_run()
    (run.path / "status.json").write_text(text)
    assert run.status().state == "unreadable"
    assert run.write_status(state="queued").state == "queued"


@pytest.mark.parametrize("line", ["5", "{}", "[]", "garbage", '{"kind": "metrics", "time": 1}'])
def test_damaged_event_lines_are_passed_over(make_run, event, line):
    run = make_run(event.metrics(1, loss=2.0))
    with open(run.path / "events.jsonl", "a") as events:
        events.write(line + "\n" + json.dumps(event.metrics(2, loss=1.0)) + "\n")
    assert run.series() == {"loss": {1: 2.0, 2: 1.0}}


@pytest.mark.parametrize("text", ["[]", "{}", "garbage", '{"experiment": {}}'])
def test_a_damaged_spec_hides_no_other_run(make_run, tmp_path, text):
    good, bad = make_run(), make_run(seed=1)
    (bad.path / "spec.json").write_text(text)
    root = good.path.parent
    assert {run.id for run in run_dir.all_runs(root)} == {good.id, bad.id}
    assert run_index.find(good.id, root).id == good.id
    assert [run.id for run in run_index.select([], "g", root)] == [good.id]
    with pytest.raises(LabError, match="cannot be read"):
        bad.experiment()


def test_a_damaged_store_is_told_from_a_sound_one(tmp_path):
    (tmp_path / "mlflow.db").write_text("no database")
    assert not is_sound(tmp_path / "mlflow.db")
    assert is_sound(tmp_path / "absent.db")


def test_unknown_kinds_of_tracking_uri_are_refused():
    check_uri("")
    check_uri("http://127.0.0.1:5000")
    with pytest.raises(LabError, match=r"tracking.uri=foo: no such kind; allowed: http://"):
        check_uri("foo")


def test_a_store_that_does_not_answer_holds_up_no_tick(make_run, tmp_path, monkeypatch, capsys):
    live = LiveMirror(tmp_path, [make_run()], period_s=0)
    release = threading.Event()
    monkeypatch.setattr(live, "flush", release.wait)
    monkeypatch.setattr("labrun.results.store.ANSWER_S", 0.1)
    live.tick()
    live.tick()
    live.close()
    assert "does not answer" in capsys.readouterr().err
    release.set()


def test_more_gpus_than_the_trainer_uses_are_refused_before_a_run():
    parts = build(compose(["plugin=stairs"]))
    parts.plan(ResourcesConfig(num_gpus=1))
    with pytest.raises(LabError, match=r"resources.num_gpus=2: this trainer uses at most 1"):
        parts.plan(ResourcesConfig(num_gpus=2))

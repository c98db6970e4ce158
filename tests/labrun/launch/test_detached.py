"""Runs that outlive their command, on this machine: detached, looked at, cancelled, resumed."""

import os
import signal
import subprocess
import sys
import time

import pytest
from labrun.config.experiments import compose
from labrun.errors import LabError
from labrun.launch import submitting
from labrun.runs import run_dir, run_index, submission
from labrun.runs.run_dir import RunDir

SLOW = ["trainer.trouble.sleep_s=0.1", "evaluate_start=false", "save_every=1000", "max_steps=600"]
PATIENCE_S = 120.0


def until(is_so, what: str = "") -> None:
    give_up = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < give_up, f"not so in {PATIENCE_S:g} s: {what}"
        time.sleep(0.05)


def state(run: RunDir) -> str:
    return run.recorded_status().state


def await_leave(run):
    """Wait until the process that was submitted for the run holds nothing any more."""
    process = submission.read(run.path).id.partition("@")[0]
    until(lambda: not os.path.exists(f"/proc/{process}/fd/1"), "it has left")


def has_begun(run: RunDir) -> bool:
    return state(run) == "running" and bool(run.series())


def begun(run: RunDir) -> list[int | None]:
    """From which step each attempt went on."""
    return [event["resumed_from"] for event in run.events() if event["kind"] == "attempt"]


@pytest.fixture
def detached(lab_here, home, example):
    """`detached(*words)`: the runs of `lab run --detach`; what is left of them ends with the
    test."""
    runs: list[RunDir] = []

    def start(*words: str) -> list[RunDir]:
        done = lab_here("run", "--detach", "plugin=example", *words)
        assert done.returncode == 0, done.stderr
        runs.extend(entry.run for entry in run_index.entries(home))
        return runs

    yield start
    submitting.cancel(runs, now=True)


def test_a_detached_sweep_is_run_by_a_process_that_outlives_the_command(detached, lab_here):
    runs = detached("-m", "seed=0,1", "group=g")
    assert all(submission.read(run.path).launcher == "local" for run in runs)
    until(lambda: [state(run) for run in runs] == ["done", "done"])
    again = lab_here("compare", "--group", "g")
    assert again.returncode == 0
    assert "held_out  mse" in again.stdout


def test_a_detached_run_that_cannot_be_started_is_one_line_and_failed(lab_here, home, example):
    home.mkdir()
    (home / ".detached").write_text("")
    refused = lab_here("run", "--detach", "plugin=example")
    assert refused.returncode == 2
    text = "lab: the process that should run them cannot be started: File exists: "
    assert refused.stderr == f"{text}{home}/.detached; mend it, then `lab resume`\n"
    (entry,) = run_index.entries(home)
    assert entry.state == "failed"


def test_cancel_lets_a_running_run_save_and_a_waiting_one_never_begin(detached, lab_here):
    first, second = detached("-m", "seed=0,1", "group=g", "num_cpus=2", *SLOW)
    until(lambda: has_begun(first))
    assert state(second) == "queued"
    said = lab_here("cancel", "--group", "g").stdout.splitlines()
    assert said == [
        f"{first.id}: asked to save a checkpoint and stop",
        f"{second.id}: cancelled before it started",
    ]
    until(lambda: state(first) == "preempted")
    assert "stopped at step" in first.recorded_status().message
    assert any(event["kind"] == "checkpoint" for event in first.events())
    await_leave(first)
    assert not list(second.events())
    assert state(second) == "preempted"


def test_a_run_whose_process_is_being_started_when_it_is_cancelled_never_begins(detached, lab_here):
    (run,) = detached(*SLOW)
    until(lambda: (run.path / "stdio.log").exists())
    assert state(run) == "queued"
    said = lab_here("cancel", "last").stdout
    assert said == f"{run.id}: cancelled before it started\n"
    await_leave(run)
    status = run.recorded_status()
    assert (status.state, status.message) == ("preempted", "cancelled before it started")
    assert not list(run.events())


def test_cancel_now_ends_a_run_which_is_not_tried_again(detached, lab_here):
    (run,) = detached(*SLOW)
    until(lambda: has_begun(run))
    assert lab_here("cancel", "last", "--now").stdout == f"{run.id}: ended at once\n"
    until(lambda: state(run) == "killed")
    assert [event["kind"] for event in run.events()].count("attempt") == 1


def test_a_cancelled_run_goes_on_when_it_is_resumed(detached, lab_here):
    (run,) = detached(*SLOW)
    until(lambda: has_begun(run))
    lab_here("cancel", "last")
    until(lambda: state(run) == "preempted")
    await_leave(run)
    assert lab_here("resume", "last", "--detach").returncode == 0
    until(lambda: len(begun(run)) == 2)
    assert begun(run)[0] is None
    assert begun(run)[1] >= 1


def test_a_run_of_another_machine_is_cancelled_there(make_run):
    run = make_run(state="running")
    run.write_status(host="elsewhere", process="1@2@3")
    with pytest.raises(LabError, match=f"runs on elsewhere; `lab cancel {run.id}` there"):
        submitting.cancel([run], now=False)
    assert not submission.is_cancelled(run.path)


def test_a_waiting_run_of_a_machine_that_is_gone_is_cancelled_here_and_goes_on(
    home, example, lab_here
):
    run = run_dir.create(compose(["plugin=example", "max_steps=2"]), root=home)
    run.write_status(host="elsewhere", process="1@2@3")
    refused = lab_here("resume", "last")
    assert refused.returncode == 2
    assert f"run {run.id} is queued and cannot be resumed" in refused.stderr
    assert lab_here("cancel", "last").stdout == f"{run.id}: cancelled before it started\n"
    assert lab_here("resume", "last").returncode == 0
    assert state(run) == "done"


def test_a_waiting_run_of_a_machine_that_is_gone_is_deleted_once_it_is_cancelled(
    make_run, home, lab_here
):
    run = make_run(state="queued", root=home)
    run.write_status(host="elsewhere", process="1@2@3")
    assert "queued or running and not deleted" in lab_here("runs", "delete", run.id, "--yes").stderr
    lab_here("cancel", run.id)
    assert lab_here("runs", "delete", run.id, "--yes").returncode == 0
    assert not run.path.exists()


def test_status_follows_until_all_have_ended(detached, lab_here):
    detached("trainer.trouble.sleep_s=0.1", "max_steps=10", "group=g")
    said = lab_here("status", "-f", "--group", "g").stdout.splitlines()
    assert said[-1] == "no run is under way; ended: 1 done"


def test_logs_follow_what_a_run_prints(detached, lab_here, tmp_path):
    script = tmp_path / "say.py"
    script.write_text("print('hello from step 2', flush=True)")
    detached(f"trainer.trouble.script={script}", "trainer.trouble.sleep_s=0.1")
    assert "hello from step 2" in lab_here("logs", "-f", "last").stdout


def test_a_detached_run_sends_its_results_to_a_server_itself(detached, home):
    (run,) = detached("tracking.uri=http://127.0.0.1:9", "max_steps=2")
    until(lambda: state(run) == "done")
    log = home / ".detached" / f"{run.id}.log"
    until(lambda: "results store not updated" in log.read_text())
    assert "127.0.0.1" in log.read_text()
    assert not (home / "mlflow.db").exists()


def test_a_sweep_whose_command_died_is_finished_by_the_same_command(home, example, lab_here):
    words = ["run", "-m", "plugin=example", "seed=0,1,2", "group=g", "num_cpus=2"]
    words += ["trainer.trouble.sleep_s=0.05", "max_steps=20"]
    with subprocess.Popen([sys.executable, "-m", "labrun.cli", *words]) as command:
        until(lambda: any(e.state == "done" for e in run_index.entries(home)))
        command.send_signal(signal.SIGKILL)
    first = next(e.run for e in run_index.entries(home) if e.state == "done")
    before = first.recorded_status()
    done = lab_here(*words)
    assert done.returncode == 0, done.stderr
    assert "1 of 3 runs are done or under way; 2 go on, 0 begin" in done.stderr
    assert [entry.state for entry in run_index.entries(home)] == ["done"] * 3
    assert first.recorded_status() == before
    added = lab_here(*words[:3], "seed=0,1,2,3", *words[4:])
    assert "3 of 4 runs are done or under way; 0 go on, 1 begin" in added.stderr
    assert len(run_index.entries(home)) == 4


def test_a_job_saves_before_its_time_limit_and_says_so(home, example, lab_here):
    limit = ["resources.time_limit=0.2", "resources.save_ahead_s=4"]
    ended = lab_here("run", "plugin=example", *SLOW, *limit)
    assert ended.returncode == 75
    (entry,) = run_index.entries(home)
    status = entry.run.recorded_status()
    assert status.state == "preempted"
    assert status.message.endswith("its time limit of 0.2 min was near")
    assert [event["kind"] for event in entry.run.events()].count("checkpoint") == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["resources.time_limit=1"],
            "resources.time_limit=1: a job of so many minutes ends before it has begun to save",
        ),
        (
            ["-m", "launcher=local,slurm"],
            "launcher=local,slurm: a command has one launcher; name one, or its runs",
        ),
    ],
)
def test_what_no_launcher_can_do_is_refused_before_anything_is_made(
    home, example, lab_here, words, said
):
    done = lab_here("run", "plugin=example", *words)
    assert done.returncode == 2
    assert done.stderr.startswith(f"lab: {said}")
    assert not home.exists()


def test_several_nodes_need_a_launcher_that_gives_them(home, lab_here):
    done = lab_here("run", "plugin=rlrt", "resources.num_nodes=2")
    assert done.returncode == 2
    assert "resources.num_nodes=2: launcher=local uses this machine alone" in done.stderr

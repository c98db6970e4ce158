import os
import signal
import subprocess
import sys
import threading
import time

import psutil
import pytest
import typer
from labrun.cli import reports as report
from labrun.config.experiments import compose
from labrun.errors import EXIT_DIVERGED, EXIT_HANG, EXIT_PREEMPTED
from labrun.launch.leases import Device, Pool
from labrun.launch.local import LocalExecutor, StoppedError
from labrun.runs import run_dir
from rich.console import Console

pytestmark = pytest.mark.usefixtures("example")


@pytest.fixture
def create(home):
    def make(*overrides):
        return run_dir.create(compose(["plugin=example", *overrides]), root=home)

    return make


@pytest.fixture
def executor(tmp_path):
    devices = [Device("gpu", 3, 24.0), Device("cpu", 0), Device("cpu", 1)]
    return LocalExecutor(Pool(devices, tmp_path / "leases"))


def nothing() -> None:
    return


def attempts(run) -> list[tuple[int, int | None]]:
    found = [e for e in run.events() if e["kind"] == "attempt"]
    return [(e["attempt"], e["resumed_from"]) for e in found]


def wait_for(condition, *, timeout_s=240.0):
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def logged_steps(run) -> int:
    return max(run.series().get("loss", {0: 0}))


def test_done_is_exit_0_with_every_step_and_score(create, executor):
    run = create("seed=1")
    executor.drain([run], nothing)
    status = run.status()
    assert (status.state, status.exit_code, status.step, status.attempt) == ("done", 0, 10, 0)
    assert sorted(run.series()["loss"]) == list(range(1, 11))
    assert sorted(run.scores()["held_out", "mse"]) == [0, 10]
    assert sorted(p.name for p in run.checkpoints.iterdir()) == ["00000004", "00000008"]


def test_job_gets_its_leased_gpus_and_threads(create, executor):
    run = create("num_gpus=1", "num_cpus=2", "max_steps=1")
    executor.drain([run], nothing)
    assert list(run.status().devices) == ["3"]
    provenance = (run.path / "provenance.json").read_text()
    assert '"CUDA_VISIBLE_DEVICES": "3"' in provenance
    assert '"OMP_NUM_THREADS": "2"' in provenance


def test_jobs_wait_for_slots_and_all_finish(create, executor):
    runs = [create(f"seed={seed}", "num_cpus=2", "max_steps=2") for seed in (0, 1)]
    executor.drain(runs, nothing)
    first, second = (run.status() for run in runs)
    assert (first.state, second.state) == ("done", "done")
    assert second.started >= first.ended


def test_bad_config_is_exit_2_and_not_retried(create, executor, tmp_path):
    run = create(f"held_out_file={tmp_path / 'gone.csv'}")
    executor.drain([run], nothing)
    status = run.status()
    assert (status.state, status.exit_code) == ("refused", 2)
    assert status.message == f"dataset.held_out_file={tmp_path / 'gone.csv'}: no such file"
    assert attempts(run) == [(0, None)]


def test_diverged_is_exit_70_not_retried_and_keeps_its_last_checkpoint(create, executor):
    run = create("nan_at_step=6", "save_every=2")
    executor.drain([run], nothing)
    status = run.status()
    assert (status.state, status.exit_code) == ("diverged", EXIT_DIVERGED)
    assert status.message == "loss nan at step 6"
    assert attempts(run) == [(0, None)]
    assert sorted(p.name for p in run.checkpoints.iterdir()) == ["00000002", "00000004"]
    with pytest.raises(typer.Exit) as ended:
        report.finish([run], run.path.parent, Console(quiet=True))
    assert ended.value.exit_code == EXIT_DIVERGED


def test_crash_is_retried_from_the_checkpoint_and_gives_the_uncrashed_result(create, executor):
    whole, crashed = create(), create("crash_at_step=6")
    executor.drain([whole, crashed], nothing)
    assert crashed.status().state == "done"
    assert attempts(crashed) == [(0, None), (1, 4)]
    assert crashed.series() == whole.series()
    assert crashed.scores() == whole.scores()
    assert "crash that a test asked for" in (crashed.path / "stdio.log").read_text()


def test_crash_without_retries_left_is_failed_with_its_reason(create, executor):
    run = create("crash_at_step=2", "max_retries=0")
    executor.drain([run], nothing)
    status = run.status()
    assert (status.state, status.exit_code) == ("failed", 1)
    assert status.message == "RuntimeError: crash that a test asked for"
    assert attempts(run) == [(0, None)]


@pytest.mark.parametrize(
    ("error", "tries", "message"),
    [
        ("TypeError", 1, "TypeError: error that a test asked for"),
        ("SystemExit", 1, "a component ended the process: exit('error that a test asked for')"),
        ("RuntimeError", 2, "RuntimeError: error that a test asked for"),
        ("OSError", 4, "OSError: error that a test asked for"),
    ],
)
def test_an_error_that_comes_again_is_not_tried_again(create, executor, error, tries, message):
    run = create(f"trainer.trouble.error={error}", "max_retries=3", "evaluate_start=false")
    executor.drain([run], nothing)
    status = run.status()
    assert (status.state, status.exit_code) == ("failed", 1)
    assert status.message.startswith(message)
    assert len(attempts(run)) == tries


def test_killed_worker_is_retried_from_the_checkpoint(create, executor):
    run = create("sleep_s=0.05", "max_steps=12")
    killed = []

    def kill_once():
        if not killed and logged_steps(run) >= 6:
            killed.append(run.status().pid)
            os.kill(killed[0], signal.SIGKILL)

    executor.drain([run], kill_once)
    assert run.status().state == "done"
    assert attempts(run) == [(0, None), (1, 4)]


def test_retries_are_counted_afresh_by_the_next_command(create, executor):
    run = create("crash_at_step=6", "max_retries=0")
    executor.drain([run], nothing)
    executor.drain([run], nothing)
    assert run.status().state == "done"
    assert attempts(run) == [(0, None), (1, 4)]


def test_hang_is_exit_124_after_its_timeout(create, executor):
    run = create("hang_at_step=2", "hang_timeout_s=4", "max_retries=0")
    executor.drain([run], nothing)
    status = run.status()
    assert (status.state, status.exit_code) == ("hung", EXIT_HANG)
    assert status.message == "no sign of life for 4 s, in the stage 'train'"
    assert not psutil.pid_exists(status.pid)


def test_sigterm_makes_jobs_checkpoint_and_gives_up_the_queue(create, executor):
    running = [create("sleep_s=0.05", "max_steps=400", f"seed={s}") for s in (0, 1)]
    waiting = create("seed=2")

    def stop_later():
        wait_for(lambda: all(logged_steps(run) >= 2 for run in running))
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=stop_later).start()
    with pytest.raises(StoppedError) as stopped:
        executor.drain([*running, waiting], nothing)
    assert stopped.value.exit_code == EXIT_PREEMPTED
    for run in running:
        status = run.status()
        assert (status.state, status.exit_code) == ("preempted", EXIT_PREEMPTED)
        (last,) = [p.name for p in sorted(run.checkpoints.iterdir())][-1:]
        assert int(last) == logged_steps(run)
        assert attempts(run) == [(0, None)]
    assert waiting.status().state == "preempted"
    assert waiting.status().message == "stopped before it started"
    assert attempts(waiting) == []


def test_sigterm_before_the_job_listens_stops_it_without_a_retry(create, executor):
    run = create("sleep_s=0.05", "max_steps=400")
    ticks = []

    def stop_at_once():
        ticks.append(1)
        if len(ticks) == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(StoppedError):
        executor.drain([run], stop_at_once)
    assert run.status().state == "preempted"
    # on a loaded machine the job may listen already when the first tick comes
    assert attempts(run) in ([], [(0, None)])


def test_sigterm_to_the_worker_is_exit_75_and_not_retried(create, executor):
    run = create("sleep_s=0.05", "max_steps=400")
    asked = []

    def ask_once():
        if not asked and logged_steps(run) >= 2:
            asked.append(run.status().pid)
            os.kill(asked[0], signal.SIGTERM)

    executor.drain([run], ask_once)
    assert (run.status().state, run.status().exit_code) == ("preempted", EXIT_PREEMPTED)
    assert run.status().message == f"stopped at step {logged_steps(run)}"


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.mark.parametrize(
    "end", [("max_steps=2",), ("hang_at_step=2", "hang_timeout_s=8")], ids=["done", "hung"]
)
def test_what_a_job_leaves_running_is_killed_with_it(create, executor, end):
    run = create("start_child=true", *end, "max_retries=0")
    executor.drain([run], nothing)
    child = int((run.artifacts / "child.pid").read_text())
    wait_for(lambda: gone(child))


def test_workers_die_with_a_sigkilled_command(home):
    words = ["run", "plugin=example", "sleep_s=0.1", "max_steps=600"]
    command = subprocess.Popen(
        [sys.executable, "-m", "labrun.cli", *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_for(lambda: any(logged_steps(run) >= 1 for run in run_dir.all_runs(home)))
    (run,) = run_dir.all_runs(home)
    worker = run.status().pid
    assert run.status().state == "running"
    command.kill()
    command.wait()
    wait_for(lambda: gone(worker))
    assert run.status().state == "killed"

"""The trouble of a command's terminal, disk or display ends no job; one run's fault is its own."""

import contextlib
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest
from labrun.config.experiments import compose
from labrun.errors import LabError
from labrun.launch import jobs, session
from labrun.launch import local as executors
from labrun.launch.display import Display
from labrun.launch.guards import lasting
from labrun.launch.leases import Device, Pool
from labrun.launch.local import LocalExecutor, StoppedError
from labrun.runs import run_dir
from labrun.runs.context import RunContext
from labrun.runs.signs import last_step
from labrun.system import processes
from rich.console import Console

pytestmark = pytest.mark.usefixtures("example")

LAB = [sys.executable, "-m", "labrun.cli"]
RUN = [*LAB, "run", "plugin=example", "sleep_s=0.1"]


@pytest.fixture
def create(home):
    def make(*overrides):
        return run_dir.create(compose(["plugin=example", *overrides]), root=home)

    return make


@pytest.fixture
def executor(tmp_path):
    return LocalExecutor(Pool([Device("cpu", 0), Device("cpu", 1)], tmp_path / "leases"))


def nothing() -> None:
    return


def wait_for(condition, *, timeout_s=240.0):
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def test_a_closed_pipe_ends_no_job_and_changes_no_exit_code(home):
    command = subprocess.Popen(
        [*RUN, "max_steps=12"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert command.stdout is not None
    assert command.stdout.readline()
    command.stdout.close()
    command.stdout = None
    errors = command.communicate()[1]
    assert (command.returncode, errors) == (0, "")
    (run,) = run_dir.all_runs(home)
    assert (run.status().state, run.status().step) == ("done", 12)


def test_a_full_disk_behind_both_streams_ends_no_job(home):
    with open("/dev/full", "w") as full:
        ended = subprocess.run([*RUN, "max_steps=3"], stdout=full, stderr=full)
    assert ended.returncode == 0
    (run,) = run_dir.all_runs(home)
    assert run.status().state == "done"


def test_closed_streams_end_no_job(home):
    ended = subprocess.run(["sh", "-c", '"$@" <&- >&- 2>&-', "sh", *RUN, "max_steps=3"])
    assert ended.returncode == 0
    (run,) = run_dir.all_runs(home)
    assert run.status().state == "done"


def test_letters_that_the_terminal_lacks_change_no_exit_code(home):
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    command = [*RUN, "max_steps=1", "group=größe"]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert "gr\\xf6\\xdfe" in ended.stdout


@pytest.mark.parametrize(("number", "times"), [(signal.SIGHUP, 2), (signal.SIGUSR1, 1)])
def test_a_closed_terminal_or_a_warning_is_a_stop_with_a_checkpoint(home, number, times):
    """Twice: the kernel and the shell each send SIGHUP."""
    command = subprocess.Popen([*RUN, "max_steps=400"], stderr=subprocess.PIPE, text=True)
    wait_for(lambda: any(last_step(run.path) >= 1 for run in run_dir.all_runs(home)))
    for _ in range(times):
        command.send_signal(number)
    said = command.communicate()[1]
    assert said.count("lab: stopping; jobs write a checkpoint first") == 1
    assert command.returncode == 75
    (run,) = run_dir.all_runs(home)
    assert (run.status().state, run.status().exit_code) == ("preempted", 75)
    assert f"{run.status().step:08d}" in [path.name for path in run.checkpoints.iterdir()]


def test_a_second_ctrl_c_ends_the_jobs_at_once_and_says_so(create, executor):
    run = create("max_steps=400", "sleep_s=0.1", "hang_at_step=2")

    def stop_twice():
        wait_for(lambda: last_step(run.path) >= 1)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=stop_twice).start()
    with pytest.raises(StoppedError):
        executor.drain([run], nothing)
    assert run.status().state == "killed"
    assert run.status().message == "ended with its command, without a checkpoint"


def test_an_error_of_the_display_is_said_once_and_ends_no_job(create, executor, capsys):
    run = create("max_steps=3")

    def broken():
        raise ValueError("max() arg is an empty sequence")

    executor.drain([run], broken)
    assert run.status().state == "done"
    said = "lab: the display failed (ValueError: max() arg is an empty sequence); jobs go on\n"
    assert capsys.readouterr().err == said


def test_an_exit_of_the_display_ends_nothing(capsys):
    calls = []

    def leaves():
        calls.append(1)
        sys.exit(1)

    guarded = lasting("the display", leaves)
    guarded()
    guarded()
    assert len(calls) == 1
    assert "the display failed (SystemExit: 1)" in capsys.readouterr().err


def test_a_removed_run_directory_is_one_line_and_harms_no_other(create, executor, capsys):
    lost, kept = create("max_steps=400", "sleep_s=0.1"), create("seed=1", "max_steps=3")
    display = Display([lost, kept], Console(quiet=True))

    def tick():
        if lost.path.exists() and last_step(lost.path) >= 1:
            shutil.rmtree(lost.path, ignore_errors=True)
        display.tick()

    executor.drain([lost, kept], tick)
    display.close()
    assert kept.status().state == "done"
    lines = [line for line in capsys.readouterr().err.splitlines() if lost.id in line]
    assert sorted(lines) == [
        f"lab: run {lost.id} is shown no more: its directory was removed",
        f"lab: run {lost.id}: its directory was removed while it ran; its job has ended",
    ]


FULL = """
    from example_plugin import components

    def write(self, folder):
        (folder / "weights").write_bytes(b"x" * (8 << 20))

    components.State.write = write
"""


@pytest.fixture
def small(tmp_path):
    """A disk of 4 MiB."""
    if os.geteuid() != 0:
        pytest.skip("only root mounts a small disk")
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)])
    if mounted.returncode != 0:
        pytest.skip("no disk can be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder, *, but):
    """Leave so many bytes of the disk free."""
    disk = os.statvfs(folder)
    with open(folder / "fill", "wb") as out:
        out.write(b"x" * (disk.f_bavail * disk.f_frsize - but))


def test_a_checkpoint_that_does_not_fit_ends_that_run_alone(small, tmp_path, executor):
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(FULL))
    words = ["plugin=example", "max_steps=30", "save_every=3", "sleep_s=0.02"]
    too_large = compose([*words, f"trainer.trouble.script={script}"])
    runs = [run_dir.create(one, root=small) for one in (too_large, compose(words))]
    executor.drain(runs, nothing)
    lost, kept = (run.status() for run in runs)
    assert (lost.state, lost.exit_code) == ("failed", 1)
    assert lost.message.startswith("No space left on device; make room on the disk of")
    assert not list(runs[0].checkpoints.iterdir())
    assert sum(event["kind"] == "attempt" for event in runs[0].events()) == 1
    assert kept.state == "done"
    assert sorted(runs[1].series()["loss"]) == list(range(1, 31))


@pytest.mark.parametrize("free_kib", [0, 4, 12, 20])
def test_a_spec_that_does_not_fit_is_one_line_and_leaves_nothing(
    small, lab_here, monkeypatch, free_kib
):
    monkeypatch.setenv("LABRUN_HOME", str(small))
    fill(small, but=free_kib << 10)
    ended = lab_here("run", "-m", "plugin=example", "seed=0,1,2,3")
    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert re.fullmatch(
        rf"lab: run [1-3] of 4 cannot be created in {small}: No space left on device; "
        "nothing was started; put it right, or set LABRUN_HOME",
        line,
    )
    assert [path.name for path in small.iterdir()] == ["fill"]


@pytest.mark.parametrize("words", [("resume",), ("runs", "tag"), ("runs", "note")], ids=" ".join)
def test_a_command_on_a_full_disk_is_one_line_and_changes_nothing(
    small, lab_here, monkeypatch, words
):
    monkeypatch.setenv("LABRUN_HOME", str(small))
    run = run_dir.create(compose(["plugin=example"]), root=small)
    run.write_status(state="failed", message="why")
    before = run.status()
    fill(small, but=0)
    ended = lab_here(*words, run.id, *{"tag": ["+x"], "note": ["x"]}.get(words[-1], []))
    assert ended.returncode == 2
    *_, line = ended.stderr.splitlines()  # a resume first says that the store has no room
    assert line.startswith("lab: No space left on device")
    assert line.endswith("; mend the disk of LABRUN_HOME, then do it again")
    assert run.status() == before


def test_a_status_that_does_not_fit_leaves_no_draft(small, make_run):
    run = make_run(root=small)
    fill(small, but=0)
    with pytest.raises(OSError, match="No space left on device"):
        run.write_status(message="x" * 5000)
    assert run.status().state == "done"
    assert not list(run.path.glob(".status.json.*"))


def test_a_waiting_run_has_no_handle_in_the_command(create, executor):
    runs = [create(f"seed={seed}", "sleep_s=0.1", "max_steps=400") for seed in range(30)]
    before = len(os.listdir("/proc/self/fd"))
    most = []

    def stop_at_second_tick():
        most.append(len(os.listdir("/proc/self/fd")))
        if len(most) == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(StoppedError):
        executor.drain(runs, stop_at_second_tick)
    assert max(most) - before < 15  # the claims, leases and reports of two jobs
    assert {run.status().state for run in runs} == {"preempted"}


@contextlib.contextmanager
def spare_handles(number):
    """Let this process open so many files more."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(map(int, os.listdir("/proc/self/fd")))
    taken = [os.dup(0)]
    while taken[-1] < highest:  # free ones below it
        taken.append(os.dup(0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (taken[-1] + 1 + number, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
        for handle in taken:
            os.close(handle)


@pytest.mark.parametrize("number", [10, 13])  # a job's start takes 8
def test_jobs_wait_for_handles_that_others_have(create, tmp_path, capsys, number):
    executor = LocalExecutor(Pool([Device("cpu", i) for i in range(6)], tmp_path / "leases"))
    runs = [create(f"seed={seed}", "max_steps=2", "sleep_s=0.1") for seed in range(6)]
    with spare_handles(number):
        executor.drain(runs, nothing)
    assert [run.status().state for run in runs] == ["done"] * 6
    assert "not started" not in capsys.readouterr().err


def test_handles_that_are_free_again_soon_are_waited_for_without_a_job(create, executor, capsys):
    run = create("max_steps=2")
    most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with spare_handles(5):
        later = threading.Timer(1.0, resource.setrlimit, (resource.RLIMIT_NOFILE, most))
        later.start()
        executor.drain([run], nothing)
        later.join()
    assert run.status().state == "done"
    assert "not started" not in capsys.readouterr().err


def test_handles_that_nothing_frees_fail_the_runs_in_seconds(create, executor, capsys, monkeypatch):
    monkeypatch.setattr(executors, "PATIENCE_S", 0.5)
    runs = [create(f"seed={seed}", "max_steps=2") for seed in range(2)]
    with spare_handles(5):
        executor.drain(runs, nothing)
    assert [run.status().state for run in runs] == ["failed"] * 2
    assert capsys.readouterr().err.count("not started: [Errno 24] Too many open files") == 2


def test_a_claim_or_lease_for_which_no_handle_is_left_is_waited_for(make_run, tmp_path):
    run, pool = make_run(), Pool([Device("cpu", 0)], tmp_path / "leases")
    wanted = run.experiment().run.resources
    with spare_handles(0):
        with pytest.raises(LabError) as claim:
            run.claim()
        with pytest.raises(LabError) as lease:
            pool.acquire(wanted, holder="x")
    assert executors._is_passing(claim.value)
    assert executors._is_passing(lease.value)


def test_a_sweep_with_few_handles_runs_to_its_end(home):
    command = ["sh", "-c", 'ulimit -n 16; exec "$@"', "sh", *LAB, "run", "-m"]
    words = ["plugin=example", "seed=0,1,2,3", "max_steps=2"]
    ended = subprocess.run([*command, *words], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert [run.status().state for run in run_dir.all_runs(home)] == ["done"] * 4


def test_a_run_that_cannot_be_started_is_failed_and_the_others_go_on(create, executor, capsys):
    bad, good = create("max_steps=2"), create("seed=1", "max_steps=2")
    (bad.path / "stdio.log").mkdir()
    executor.drain([bad, good], nothing)
    assert bad.status().state == "failed"
    assert bad.status().message.startswith("not started: [Errno 21] Is a directory")
    assert good.status().state == "done"
    assert f"lab: run {bad.id}: not started: " in capsys.readouterr().err


def test_a_run_that_another_command_waits_to_start_is_not_resumed(create, home):
    run = create("max_steps=2")
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        wait_for(lambda: processes.identity(other.pid))
        run.write_status(process=processes.identity(other.pid), host=os.uname().nodename)
        with pytest.raises(Exception, match="is queued and cannot be resumed; stop it first"):
            session.resume([run], home, lambda: Console(quiet=True))
        other.kill()
    assert run.status().state == "killed"


@pytest.mark.parametrize("step_s", [2400.0, 5.0, -3600.0])
def test_a_step_of_the_clock_neither_kills_nor_spares_a_job(
    create, executor, monkeypatch, step_s, tmp_path
):
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + step_s)
    good = create("max_steps=30", "sleep_s=0.1", "hang_timeout_s=60")
    states = set()

    def look():
        states.add(good.status().state)

    executor.drain([good], look)
    assert good.status().state == "done"
    assert "killed" not in states


def test_silence_counts_only_while_this_process_runs(make_run, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    silence = jobs.Silence(make_run())
    assert silence.seconds() == 0.0
    clock[0] += 3
    assert silence.seconds() == 3.0
    clock[0] += 3600  # the machine was frozen, and the job with it
    assert silence.seconds() == 3.0 + jobs.LONGEST_GAP_S


def test_work_of_any_rank_is_a_sign_of_life(make_run, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    run = make_run()
    silence = jobs.Silence(run)
    ctx = RunContext(run, 0, 0, (), None, keep_checkpoints=1, rank=1, world_size=2)
    for second in (0, 3, 6):
        clock[0] = second
        ctx.heartbeat()
        assert silence.seconds() == 0.0
    assert ctx.run.progress() == {}
    clock[0] = 9
    assert silence.seconds() == 3.0


def test_a_run_is_known_by_its_start_and_not_by_the_clock(make_run):
    run = make_run()
    mine = processes.me()
    pid, start, _ = mine.split("@")
    here = os.uname().nodename
    run.write_status(state="running", pid=os.getpid(), host=here, started=0.0, process=mine)
    assert run.status().state == "running"  # though the clock was set back since it began
    run.write_status(process=f"{pid}@{start}@another-boot")
    assert run.status().state == "killed"


def test_a_killed_run_shows_its_real_step(make_run, event):
    run = make_run(event.metrics(1, loss=2.0), event.metrics(7, loss=1.0), state="running")
    run.write_status(pid=2**22 + 1, host=os.uname().nodename, step=0)
    assert (run.status().state, run.status().step) == ("killed", 7)


def test_what_a_killed_writer_left_half_written_is_removed(create, executor):
    run = create("max_steps=1")
    stray = Path(run.path / ".status.json.4242")
    stray.write_text("{")
    executor.drain([run], nothing)
    assert not stray.exists()
    assert executors.awaited().process == processes.me()

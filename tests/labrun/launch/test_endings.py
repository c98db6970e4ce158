"""Every ending of an attempt says why in its status, and nothing of it stays behind."""

import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time

import psutil
import pytest
from labrun.config.experiments import compose
from labrun.errors import LabError
from labrun.launch import jobs
from labrun.launch.leases import Device, Pool
from labrun.launch.local import LocalExecutor, StoppedError
from labrun.runs import run_dir
from labrun.system import processes

pytestmark = pytest.mark.usefixtures("example")


@pytest.fixture
def create(home, tmp_path):
    """A run whose trainer runs these lines at its second step."""
    made = []

    def make(lines, *overrides):
        path = tmp_path / f"script{len(made)}.py"
        path.write_text(textwrap.dedent(lines))
        words = [f"trainer.trouble.script={path}", "evaluate_start=false", f"seed={len(made)}"]
        if not any(word.startswith("max_steps=") for word in overrides):
            words.append("max_steps=4")
        experiment = compose(["plugin=example", "group=g", *words, *overrides])
        made.append(run_dir.create(experiment, root=home))
        return made[-1]

    return make


@pytest.fixture
def executor(tmp_path):
    return LocalExecutor(Pool([Device("cpu", 0), Device("cpu", 1)], tmp_path / "leases"))


def nothing() -> None:
    return


def num_attempts(run) -> int:
    return sum(event["kind"] == "attempt" for event in run.events())


def is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def wait_for(condition, *, timeout_s=240.0):
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def test_a_component_that_ends_the_process_is_named_with_its_code(create, executor):
    calls = {
        "import sys; sys.exit(0)": "exit(0)",
        "import sys; sys.exit(75)": "exit(75)",
        "import os; os._exit(0)": "os._exit(0)",
        "import os; os._exit(2)": "os._exit(2)",
        "quit()": "exit(None)",
    }
    runs = {create(line, "max_retries=2"): call for line, call in calls.items()}
    executor.drain(list(runs), nothing)
    for number, (run, call) in enumerate(runs.items()):
        status = run.status()
        assert (status.state, status.exit_code, num_attempts(run)) == ("failed", 1, 1)
        first, where, advice = status.message.split("; ")
        assert first == f"a component ended the process: {call}"
        assert where.endswith(f"script{number}.py:1, in <module>")
        assert advice == "a component must not exit: it returns, or raises an error"


def test_a_process_that_leaves_without_python_is_failed_with_its_code(create, executor):
    line = "import ctypes; ctypes.CDLL(None)._exit(75)"
    run = create(line, "max_retries=0")
    executor.drain([run], nothing)
    status = run.status()
    assert (status.state, status.exit_code) == ("failed", 1)
    assert status.message.startswith("its process exited with code 75 and recorded no ending; ")
    assert "a component must not exit" in status.message


def test_too_little_memory_says_peak_limit_and_what_to_lower(create, executor):
    script = """
        import resource
        resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
        bytearray(8 << 30)
    """
    run = create(script, "max_retries=0")
    executor.drain([run], nothing)
    message = run.status().message
    assert message.startswith("out of memory; peak ")
    assert "limit 4.0 GiB (ulimit -v); lower trainer.batch_size=8 in a new run" in message
    assert message.endswith("(MemoryError)")


def test_a_kill_from_outside_says_signal_peak_and_step(create, executor):
    run = create("import os; os.kill(os.getpid(), 9)", "max_retries=0")
    executor.drain([run], nothing)
    status = run.status()
    assert (status.state, status.exit_code, status.step) == ("killed", -9, 1)
    seen = re.fullmatch(
        r"ended by signal 9 \(SIGKILL\); not by lab; its peak of memory was (\d+\.\d\d) of "
        r"(\d+\.\d) GiB \(.+\); by the kernel's out-of-memory killer, if nobody else sent it",
        status.message,
    )
    assert seen
    assert 0.02 < float(seen[1]) < float(seen[2])


def test_a_crash_of_a_library_is_not_laid_to_memory(create, executor):
    names = {signal.SIGABRT: "SIGABRT", signal.SIGRTMIN + 6: "SIGRTMIN+6"}
    line = "import os; os.kill(os.getpid(), {})"
    runs = [create(line.format(int(number)), "max_retries=0") for number in names]
    executor.drain(runs, nothing)
    for run, (number, name) in zip(runs, names.items(), strict=True):
        status = run.status()
        assert (status.state, status.exit_code) == ("killed", -number)
        words = f"ended by signal {number:d} ({name}); not by lab; its peak of memory"
        assert status.message.startswith(words)
        assert "out-of-memory" not in status.message


def test_an_exception_that_is_no_error_is_recorded(create, executor):
    run = create("raise KeyboardInterrupt('from a component')", "max_retries=0")
    executor.drain([run], nothing)
    assert run.status().state == "failed"
    assert run.status().message == "KeyboardInterrupt: from a component"


def test_a_trainer_that_ignores_the_stop_is_killed_after_its_time(create, executor):
    script = """
        import signal, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        ctx.artifact_path("ready").touch()
        time.sleep(600)
    """
    run = create(script, "stop_timeout_s=1")

    def stop_later():
        wait_for((run.artifacts / "ready").exists)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=stop_later).start()
    with pytest.raises(StoppedError):
        executor.drain([run], nothing)
    status = run.status()
    assert (status.state, status.exit_code) == ("killed", -signal.SIGKILL)
    assert status.message.startswith("it did not stop when it was asked to, and was killed; ")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP, signal.SIGUSR1])
def test_whatever_asks_a_worker_to_end_makes_it_write_a_checkpoint(create, executor, number):
    run = create(f"import os; os.kill(os.getpid(), {int(number)})", "max_steps=400")
    executor.drain([run], nothing)
    assert (run.status().state, run.status().exit_code) == ("preempted", 75)
    assert run.status().message == "stopped at step 2"


def test_a_thread_that_stays_does_not_make_a_done_run_hung(create, executor, monkeypatch):
    monkeypatch.setattr(jobs, "LEAVING_S", 0.5)
    run = create("import threading, time; threading.Thread(target=time.sleep, args=[600]).start()")
    executor.drain([run], nothing)
    status = run.status()
    assert (status.state, status.exit_code) == ("done", 0)
    assert status.message.startswith("its process did not leave by itself and was ended")


CHILDREN = """
    import multiprocessing, os, subprocess, sys, time
    wait = [sys.executable, "-c", "import time; time.sleep(600)"]
    pids = [subprocess.Popen(wait, start_new_session=True, close_fds=False).pid]
    forked = multiprocessing.get_context("fork").Process(target=time.sleep, args=[600])
    forked.start()
    pids.append(forked.pid)
    read, write = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:  # a daemon, as servers start themselves
            os.write(write, str(os.getpid()).encode())
            time.sleep(600)
        os._exit(0)
    pids.append(int(os.read(read, 16)))
    ctx.write_text("pids", " ".join(map(str, pids)))
"""


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("end", ["import os; os.kill(os.getpid(), 9)", "raise RuntimeError", ""])
def test_the_whole_tree_ends_with_its_job_and_holds_no_lock(create, executor, end):
    run = create(textwrap.dedent(CHILDREN) + end, "max_retries=0", "max_steps=3")
    executor.drain([run], nothing)
    pids = [int(pid) for pid in (run.artifacts / "pids").read_text().split()]
    assert len(pids) == 3
    assert all(map(is_gone, pids))
    os.close(run.claim())
    assert [executor.pool.holder(device) for device in executor.pool.devices] == [None, None]


def test_no_process_of_a_job_holds_its_locks(create, executor):
    held = {}
    run = create(textwrap.dedent(CHILDREN), "max_steps=30", "sleep_s=0.1")

    def look():
        if not held and (run.artifacts / "pids").exists():
            held["by"] = processes.holders(run.path / ".lock")

    executor.drain([run], look)
    (holder,) = held["by"]
    assert "supervisor.py" in holder


def test_a_killed_command_leaves_nothing_and_its_run_goes_on_at_once(create, home, lab):
    run = create(textwrap.dedent(CHILDREN), "max_steps=40", "sleep_s=0.1")
    waiting = create("", "max_steps=2")
    words = ["resume", run.id, waiting.id]
    command = subprocess.Popen(
        [sys.executable, "-m", "labrun.cli", *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_for((run.artifacts / "pids").exists)
    pids = [int(pid) for pid in (run.artifacts / "pids").read_text().split()]
    with pytest.raises(LabError, match=rf"another `lab` process: pid \d+ .*{run.id}"):
        run.claim()
    command.kill()
    command.wait()
    resumed = lab("resume", run.id)
    assert resumed.returncode == 0, resumed.stderr
    assert all(map(is_gone, pids))
    assert run.status().state == "done"


def test_runs_that_a_killed_command_has_not_started_read_as_killed(create, home, lab_here):
    waiting = create("", "max_steps=2")
    mine = processes.me()
    pid, start, boot = mine.split("@")
    waiting.write_status(state="queued", process=mine, host=os.uname().nodename)
    assert waiting.status().state == "queued"
    waiting.write_status(process=f"{pid}@{int(start) - 1}@{boot}")
    assert waiting.status().state == "killed"
    assert waiting.status().message == "its command is gone; nobody will start it"
    resumed = lab_here("resume", "--group", "g")
    assert resumed.returncode == 0, resumed.stderr
    assert waiting.status().state == "done"

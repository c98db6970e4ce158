"""What is seen of a process that does not leave when its run has ended."""

import subprocess
import sys
import time

import pytest
from labrun.attempts.leaving import Leaving
from labrun.config.experiments import compose
from labrun.launch import jobs
from labrun.launch.leases import Device, Pool
from labrun.launch.local import LocalExecutor
from labrun.runs import run_dir
from labrun.system import processes

PATIENCE_S = 0.3
THREAD = "import threading, time; threading.Thread(target=time.sleep, args=[600]).start(); "
READY = "print('ready', flush=True); "
CASES = {
    "import time; " + READY + "time.sleep(600)": "its only thread had not come to its end, and it"
    " used no CPU time",
    THREAD + READY: "1 thread beside its main one still ran, and it used no CPU time",
    READY + "\nwhile True: pass": "its only thread had not come to its end, and it still used"
    " CPU time",
    "import atexit, time; from labrun.attempts import leaving; atexit.register(time.sleep, 600); "
    "atexit.register(print, 'ready', flush=True); leaving.announce()": "its threads had ended and "
    "its libraries had not, and it used no CPU time",
}


@pytest.mark.parametrize("code", CASES)
def test_what_holds_a_process_up_is_said(code):
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        leaving = Leaving(processes.identity(process.pid))
        end = time.monotonic() + 60
        while not (seen := leaving.overdue(PATIENCE_S)) and time.monotonic() < end:
            time.sleep(0.02)
        process.kill()
    assert seen == CASES[code]


def test_a_process_that_is_gone_leaves_what_it_started():
    leaving = Leaving("4194305@1@boot")
    assert leaving.overdue(60.0) == ""
    assert leaving.overdue(0.0) == "it is gone, and something that it started is not"


@pytest.fixture
def ended(example, home, tmp_path, monkeypatch):
    """The status of a run whose trainer runs these lines."""

    def run(lines, *, leaving_s):
        script = tmp_path / "script.py"
        script.write_text(lines)
        words = ["plugin=example", "max_steps=3", "evaluate_start=false"]
        made = run_dir.create(compose([*words, f"trainer.trouble.script={script}"]), root=home)
        monkeypatch.setattr(jobs, "LEAVING_S", leaving_s)
        LocalExecutor(Pool([Device("cpu", 0)], tmp_path / "leases")).drain([made], lambda: None)
        return made.status()

    return run


def test_a_thread_that_computes_is_told_from_one_that_waits(ended):
    lines = (
        "import threading\ndef work():\n    while True: pass\nthreading.Thread(target=work).start()"
    )
    status = ended(lines, leaving_s=0.5)
    assert (status.state, status.exit_code) == ("done", 0)
    words = "its process did not leave by itself and was ended: 1 thread beside its main one still"
    assert status.message == f"{words} ran, and it still used CPU time"


def test_a_teardown_that_works_has_its_time(ended):
    lines = """
import atexit, time
def tear_down():
    end = time.monotonic() + 3
    while time.monotonic() < end: pass
atexit.register(tear_down)
"""
    status = ended(lines, leaving_s=2.0)
    assert (status.state, status.exit_code, status.message) == ("done", 0, "")


def test_a_teardown_that_stands_still_is_no_thread(ended):
    status = ended("import atexit, time; atexit.register(time.sleep, 600)", leaving_s=0.5)
    assert (status.state, status.exit_code) == ("done", 0)
    assert status.message.endswith(
        "its threads had ended and its libraries had not, and it used no CPU time"
    )

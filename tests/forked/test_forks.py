"""A process that is a fork finds what a process finds that the kernel started."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from forked import start
from forked.start import SUPPORT, may_be_fork

STATE = [sys.executable, str(SUPPORT / "state_of_process.py")]
BIGGEST_FILE = resource.RLIMIT_FSIZE


@pytest.fixture(scope="module", autouse=True)
def served():
    start.have_a_server()


@pytest.fixture
def reports(tmp_path, monkeypatch):
    """Run the program as it is started here; what it says, and whether it was a fork."""

    def ask(code="0", **settings):
        done = subprocess.run([*STATE, code], stdout=subprocess.PIPE, **settings)
        assert done.returncode == int(code)
        return json.loads(done.stdout)

    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return ask


@pytest.fixture
def elsewhere(tmp_path):
    """Handles, limits, signals and a session unlike those of this process."""
    inside, outside = os.pipe()
    before, handler = resource.getrlimit(BIGGEST_FILE), signal.getsignal(signal.SIGUSR1)
    resource.setrlimit(BIGGEST_FILE, (1 << 30, before[1]))
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
    yield {
        "cwd": tmp_path,
        "env": os.environ | {"COLOUR": "größe"},
        "pass_fds": [outside],
        "start_new_session": True,
        "stderr": subprocess.DEVNULL,
        "umask": 0o27,
    }
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    signal.signal(signal.SIGUSR1, handler)
    resource.setrlimit(BIGGEST_FILE, before)
    os.close(inside)
    os.close(outside)


@pytest.fixture(params=["beside this process", "elsewhere"])
def settings(request):
    if request.param == "elsewhere":
        return request.getfixturevalue("elsewhere")
    return {"env": {**os.environ}}


def test_it_finds_the_same_and_draws_numbers_of_its_own(reports, settings):
    fork, again = reports("3", **settings), reports("3", **settings)
    with start.cold():
        cold = reports("3", **settings)
    assert [fork["is fork"], again["is fork"], cold["is fork"]] == [True, True, False]
    for name, expected in cold["same"].items():
        assert (name, fork["same"][name]) == (name, expected)
    assert fork["same"]["parent"] == os.getpid()
    assert set(fork["drawn"]) & set(again["drawn"]) == set()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_it_at_once(number):
    """However early it comes."""
    heeded = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
    before = None if number == signal.SIGKILL else signal.signal(number, heeded)
    process = subprocess.Popen([*STATE, "0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    if before is not None:  # as it was, also where the tests run under nohup
        signal.signal(number, before)
    process.send_signal(number)
    process.communicate()
    assert process.returncode == -number


def test_what_cannot_start_is_the_error_of_subprocess(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        subprocess.run([*STATE, "0"], cwd=tmp_path / "nowhere")


@pytest.mark.parametrize(
    "other",
    [
        {"OMP_NUM_THREADS": "2"},
        {"HF_HUB_OFFLINE": "0"},
        {"PYTHONHASHSEED": "1"},
        {"HOME": "/nowhere"},
        {"COLUMNS": "40"},
    ],
)
def test_other_variables_that_libraries_read_at_import_make_it_a_new_process(other):
    assert not may_be_fork([*STATE, "0"], {**os.environ, **other}, ".")


def test_what_other_libraries_set_makes_none():
    assert may_be_fork([*STATE, "0"], os.environ | {"KMP_INIT_AT_FORK": "FALSE"}, ".")


def test_other_sources_make_it_a_new_process(tmp_path):
    package = Path(tmp_path, "labrun")
    package.mkdir()
    (package / "__init__.py").touch()
    assert not may_be_fork([*STATE, "0"], os.environ | {"PYTHONPATH": str(tmp_path)}, ".")


def test_other_python_and_unknown_programs_are_new_processes():
    for words in (
        ["python", *STATE[1:]],
        [sys.executable, "-c", "1"],
        [sys.executable, "-m", "pip"],
    ):
        assert not may_be_fork(words, os.environ, ".")


def test_its_server_ends_with_it(tmp_path):
    """A command that is a fork has a server of its own below it."""
    import psutil

    environment = os.environ | {"LABRUN_HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        [sys.executable, "-m", "labrun.cli", "status"],
        env=environment,
        stdout=subprocess.DEVNULL,
    ) as command:
        below = psutil.Process(command.pid).children()
        command.kill()
    until = time.monotonic() + 60
    while any(process.is_running() for process in below) and time.monotonic() < until:
        time.sleep(0.01)
    assert not any(process.is_running() for process in below)

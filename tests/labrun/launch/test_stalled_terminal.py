"""A terminal that is stopped (Ctrl-S), or that nobody reads, holds up no job and no command."""

import contextlib
import os
import pty
import select
import signal
import subprocess
import sys
import threading
import time

import pytest
from labrun.results.store import Mirror
from labrun.results.store.database import Database
from labrun.runs import run_dir
from labrun.runs.signs import last_step
from labrun.system import streams

pytestmark = pytest.mark.usefixtures("example")

RUN = [sys.executable, "-m", "labrun.cli", "run", "plugin=example", "sleep_s=0.1"]
STOP, GO = b"\x13", b"\x11"


def wait_for(condition, *, timeout_s=60.0):
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


@pytest.fixture
def terminal():
    """Both ends of a new terminal: what a user holds, and what a program writes to."""
    ours, theirs = pty.openpty()
    yield ours, theirs
    for handle in (ours, theirs):
        os.close(handle)


@pytest.fixture
def start():
    """Starts `lab run` on these streams; ends it with the test."""
    commands = []

    def begin(steps, out, errors):
        command = subprocess.Popen([*RUN, f"max_steps={steps}"], stdout=out, stderr=errors)
        commands.append(command)
        return command

    yield begin
    for command in commands:
        command.kill()
        command.wait()


def begun(home):
    return [run for run in run_dir.all_runs(home) if last_step(run.path) >= 1]


def fill(handle):
    """Write until nobody takes more."""
    os.set_blocking(handle, False)
    with contextlib.suppress(BlockingIOError):
        while os.write(handle, b"x" * 100):
            pass
    os.set_blocking(handle, True)


def is_mirrored(home, run):
    with Mirror(home).opened() as store:
        assert isinstance(store, Database)
        copied = store.copied([run.id])
    return run.id in copied and copied[run.id].state == "done"


def read_all(handle, process):
    """What is printed from now on until the process ends."""
    parts = []
    while True:
        if select.select([handle], [], [], 0.1)[0]:
            parts.append(os.read(handle, 1 << 16))
        elif process.poll() is not None:
            return b"".join(parts).decode()


@pytest.mark.parametrize("both", [True, False])
def test_a_stopped_terminal_holds_up_no_job(home, terminal, start, both):
    ours, theirs = terminal
    os.write(ours, STOP)
    errors = theirs if both else subprocess.DEVNULL
    command = start(5, theirs, errors)
    wait_for(lambda: any(run.status().state == "done" for run in run_dir.all_runs(home)))
    (run,) = run_dir.all_runs(home)
    wait_for(lambda: is_mirrored(home, run))
    os.write(ours, GO)
    printed = read_all(ours, command)
    assert command.returncode == 0
    assert run.id in printed
    assert "held_out  mse" in printed


def test_a_terminal_that_nobody_reads_holds_up_no_job(home, terminal, start):
    fill(terminal[1])
    command = start(5, terminal[1], terminal[1])
    wait_for(lambda: any(run.status().state == "done" for run in run_dir.all_runs(home)))
    (run,) = run_dir.all_runs(home)
    wait_for(lambda: is_mirrored(home, run))
    command.send_signal(signal.SIGTERM)
    assert command.wait(60) == -signal.SIGTERM


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_ends_the_command_on_a_stopped_terminal(home, terminal, start, number):
    ours, theirs = terminal
    os.write(ours, STOP)
    command = start(600, theirs, theirs)
    wait_for(lambda: begun(home))
    command.send_signal(number)
    assert command.wait(120) == 75
    (run,) = run_dir.all_runs(home)
    assert run.status().state == "preempted"
    assert f"{run.status().step:08d}" in [path.name for path in run.checkpoints.iterdir()]


def test_a_pipe_that_nobody_reads_holds_up_no_job(home, start):
    reader, writer = os.pipe()
    fill(writer)
    command = start(600, writer, writer)
    wait_for(lambda: begun(home))
    command.send_signal(signal.SIGTERM)
    assert command.wait(120) == 75
    os.close(reader)
    os.close(writer)


def test_what_waited_for_a_reader_comes_in_order_and_whole():
    reader, writer = os.pipe()
    raw = streams._Lasting(writer, "w")
    raw.aside = streams._Aside(raw)
    sent = [f"{number:07d}\n" * 1000 for number in range(50)]  # more than a pipe holds
    for text in sent:
        raw.write(text.encode())
    assert not raw.aside.end()
    received = []

    def read():
        while part := os.read(reader, 1 << 16):
            received.append(part)

    late = threading.Thread(target=read)
    late.start()
    raw.aside.wait()
    raw.aside = None
    raw.write(b"end\n")
    wait_for(lambda: b"".join(received).endswith(b"end\n"))
    raw.close()
    late.join()
    os.close(reader)
    assert b"".join(received).decode() == "".join(sent) + "end\n"


def test_a_reader_that_is_away_for_long_costs_bounded_memory():
    reader, writer = os.pipe()
    raw = streams._Lasting(writer, "w", closefd=False)
    raw.aside = streams._Aside(raw)
    for _ in range(5 * streams.MOST_WAITING):
        raw.write(b"x" * 1000)
    assert raw.aside._waiting.qsize() <= streams.MOST_WAITING
    os.close(reader)

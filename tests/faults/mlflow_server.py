"""A real `mlflow server` that goes and comes back loses nothing and has nothing twice.

It starts four processes that import MLflow, half a minute of CPU time, so that it runs by its name
alone: `.venv/bin/pytest tests/faults/mlflow_server.py`.
"""

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time

import pytest
from labrun.results.store import ensure_sqlite

pytestmark = pytest.mark.usefixtures("example")

LAB = [sys.executable, "-m", "labrun.cli"]


def wait_for(condition, *, timeout_s=120.0):
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)


class Server:
    """`mlflow server` with one worker, on a sqlite file and a port of its own."""

    def __init__(self, folder):
        self.folder, self.store = folder, folder / "server.db"
        ensure_sqlite(self.store)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self):
        places = ["--backend-store-uri", f"sqlite:///{self.store}", "--host", "127.0.0.1"]
        words = [*places, "--port", str(self.port), "--workers", "1"]
        files = ["--default-artifact-root", str(self.folder / "files")]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", *words, *files],
            env=os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true"},
            cwd=self.folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        wait_for(self._answers)

    def stop(self):
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def losses(self):
        """Run -> the steps of its points, as often as they are stored."""
        found = {}
        asked = "SELECT run_uuid, step FROM metrics WHERE key = 'loss' ORDER BY step"
        with sqlite3.connect(f"file:{self.store}?mode=ro", uri=True) as store:
            for run, step in store.execute(asked):
                found.setdefault(run, []).append(step)
        store.close()
        return found

    def states(self):
        asked = "SELECT status FROM runs WHERE lifecycle_stage = 'active'"
        with sqlite3.connect(f"file:{self.store}?mode=ro", uri=True) as store:
            states = [row[0] for row in store.execute(asked)]
        store.close()
        return states

    def _answers(self):
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return False
        return True


@pytest.fixture
def server(tmp_path):
    made = Server(tmp_path)
    yield made
    made.stop()


WAIT = """
import os, time
while not os.path.exists({go!r}):
    ctx.heartbeat()
    time.sleep(0.05)
"""


def test_a_server_that_goes_and_comes_back_has_every_point_once(server, home, lab, tmp_path):
    server.start()
    script, go = tmp_path / "script.py", tmp_path / "go"
    script.write_text(WAIT.format(go=str(go)))  # the run waits at its second step
    words = [f"tracking.uri={server.uri}", f"trainer.trouble.script={script}", "max_steps=40"]
    command = subprocess.Popen(
        [*LAB, "run", "plugin=example", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    wait_for(lambda: list(server.losses().values()) == [[1]])
    server.stop()
    go.touch()
    errors = command.communicate(timeout=240)[1].decode()
    assert command.returncode == 0, errors
    assert "lab: results store not updated: " in errors
    assert list(server.losses().values()) == [[1]]
    server.start()
    assert lab("runs").returncode == 0  # another process writes what is behind
    wait_for(lambda: server.states() == ["FINISHED"])
    assert lab("runs").returncode == 0
    again = lab("run", "plugin=example", f"tracking.uri={server.uri}", "max_steps=3")
    assert again.returncode == 0, again.stderr
    server.stop()
    assert sorted(server.losses().values()) == [[1, 2, 3], list(range(1, 41))]
    assert server.states() == ["FINISHED", "FINISHED"]

"""A real `mlflow server` that goes and comes back loses nothing and has nothing twice.

It starts four processes that import MLflow, half a minute of CPU time, so that it runs by its name
alone: `.venv/bin/pytest tests/faults/mlflow_server.py`.
"""

import subprocess
import sys

import pytest
from served_store import Server, wait_for

pytestmark = pytest.mark.usefixtures("example")

LAB = [sys.executable, "-m", "labrun.cli"]


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

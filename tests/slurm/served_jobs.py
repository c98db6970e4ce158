"""A job of SLURM writes into an MLflow server by itself; no command of `lab` waits or looks.

The server costs half a minute of CPU time, so that this runs by its name alone:
`.venv/bin/pytest tests/slurm/served_jobs.py`.
"""

import pytest
from served_store import Server, wait_for


@pytest.fixture
def server(tmp_path):
    made = Server(tmp_path)
    yield made
    made.stop()


def test_a_job_mirrors_itself_into_a_server_that_answers(server, submit, state_is):
    server.start()
    (run,) = submit(f"tracking.uri={server.uri}", "max_steps=12")
    state_is(run, "done")
    wait_for(lambda: server.states() == ["FINISHED"])
    assert list(server.losses().values()) == [list(range(1, 13))]

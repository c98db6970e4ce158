"""A Ray cluster of two nodes for the tests of this folder, skipped with its reason where there can
be none."""

import os
import time
from collections.abc import Callable, Iterator

import pytest
from labrun.runs import run_index
from labrun.runs.run_dir import RunDir
from two_raylets import TwoRaylets, cannot_start

PATIENCE_S = 300.0
"""For a cluster that hangs; one beside other work is slow."""


@pytest.fixture(scope="session")
def nodes(example_folder) -> Iterator[TwoRaylets]:
    if reason := cannot_start():
        pytest.skip(reason)
    before = os.environ.get("PYTHONPATH", "")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(example_folder), before]).rstrip(os.pathsep)
    try:
        cluster = _started() or _started(is_last=True)
    finally:
        os.environ["PYTHONPATH"] = before
    assert cluster is not None
    yield cluster
    cluster.stop()


def _started(*, is_last: bool = False) -> TwoRaylets | None:
    """A cluster; None, or a skip of the `last` try, where a node was too slow to start."""
    cluster = TwoRaylets()
    try:
        cluster.start()
    except (OSError, RuntimeError) as error:
        cluster.stop()
        if is_last:
            pytest.skip(f"Ray cannot start here: {error}")
        return None
    return cluster


@pytest.fixture
def cluster(nodes, home, example, monkeypatch) -> TwoRaylets:
    """The cluster, for `lab` commands of this test."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    return nodes


@pytest.fixture
def submit(cluster, lab_here, home) -> Callable[..., list[RunDir]]:
    """`submit(*words)`: the runs of this `lab run` of the example plugin on the cluster, oldest
    first."""

    def run(*words: str) -> list[RunDir]:
        before = {entry.id for entry in run_index.entries(home)}
        where = ["launcher=ray", f"ray.address={cluster.address}", "ray.sees_home=true"]
        done = lab_here("run", "plugin=example", *where, *words)
        assert done.returncode == 0, done.stderr
        return [entry.run for entry in run_index.entries(home) if entry.id not in before]

    return run


def wait_until(is_so: Callable[[], object], what: Callable[[], str] = str) -> None:
    give_up = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < give_up, f"not so in {PATIENCE_S:g} s: {what()}"
        time.sleep(0.2)


@pytest.fixture
def until() -> Callable[..., None]:
    return wait_until


@pytest.fixture
def state_is() -> Callable[[RunDir, str], None]:
    """Returns once the run's recorded state is this one."""

    def wait(run: RunDir, state: str) -> None:
        wait_until(lambda: run.recorded_status().state == state, lambda: _said_by(run, state))

    return wait


def _said_by(run: RunDir, state: str) -> str:
    logs = "".join(path.read_text(errors="replace")[-600:] for path in run.path.glob("stdio*.log"))
    return f"{run.id} {state}, now {run.recorded_status()}\n{logs}"

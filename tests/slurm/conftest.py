"""A two-node SLURM for the tests of this folder, skipped with its reason where it cannot start."""

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from labrun.runs import run_index
from labrun.runs.run_dir import RunDir
from two_nodes import TwoNodes, cannot_start

PATIENCE_S = 180.0
"""For a cluster that hangs; one beside other work is slow."""


@pytest.fixture(scope="session")
def nodes(tmp_path_factory) -> Iterator[TwoNodes]:
    if reason := cannot_start():
        pytest.skip(reason)
    cluster = TwoNodes(tmp_path_factory.mktemp("slurm"))
    try:
        cluster.start()
    except (OSError, RuntimeError) as error:
        cluster.stop()
        pytest.skip(f"SLURM cannot start here: {error}")
    yield cluster
    cluster.stop()


@pytest.fixture
def cluster(nodes, home, example, monkeypatch) -> Iterator[TwoNodes]:
    """The cluster, for `lab` commands of this test; its jobs end with the test."""
    monkeypatch.setenv("SLURM_CONF", str(nodes.conf))
    yield nodes
    subprocess.run(["scancel", "--user=root"], check=False)


@pytest.fixture
def submit(cluster, lab_here, home) -> Callable[..., list[RunDir]]:
    """`submit(*words)`: the runs of this `lab run` on the cluster, oldest first; of the example
    plugin if none is named."""

    def run(*words: str) -> list[RunDir]:
        before = {entry.id for entry in run_index.entries(home)}
        plugin = [] if any(word.startswith("plugin=") for word in words) else ["plugin=example"]
        done = lab_here("run", *plugin, "launcher=slurm", "slurm.sees_home=true", *words)
        assert done.returncode == 0, done.stderr
        return [entry.run for entry in run_index.entries(home) if entry.id not in before]

    return run


def wait_until(is_so: Callable[[], object], what: str = "") -> None:
    give_up = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < give_up, f"not so in {PATIENCE_S:g} s: {what}"
        time.sleep(0.2)


@pytest.fixture
def until() -> Callable[..., None]:
    return wait_until


@pytest.fixture
def state_is() -> Callable[[RunDir, str], None]:
    """Returns once the run's recorded state is this one."""

    def wait(run: RunDir, state: str) -> None:
        def is_so() -> bool:
            return run.recorded_status().state == state

        wait_until(is_so, f"{run.id} {state}, now {run.recorded_status()}{said_by(run)}")

    return wait


def said_by(run: RunDir) -> str:
    logs = [*run.path.glob("stdio*.log"), *Path(run.path.parent, ".slurm").glob("*.log")]
    return "".join(f"\n{log}: {log.read_text(errors='replace')[-600:]}" for log in logs)

"""A killed and resumed STAIRS run is the uninterrupted run, bit for bit."""

import signal
from collections.abc import Iterator
from contextlib import nullcontext

import pytest
import torch
import warm
from forked import start
from kill_stairs_at import work
from labrun.config.experiments import compose
from labrun.runs import run_dir
from labrun.runs.run_dir import RunDir

SETTINGS = [
    "plugin=stairs",
    "dataset.train_tasks=[cn-2,cn-3]",
    "dataset.test_tasks=[cn-2,cn-4]",
    "num_episodes=8",
    "batch_size=4",
    "network.width=8",
    "rollout.episodes=2",
    "figures=false",
    "max_steps=6",
    "save_every=2",
    "evaluate_every=4",
    "target_update_every=3",
    "seed=3",
]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield


def run_worker(run: RunDir, *moment: str) -> int:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LABRUN_HOME", str(run.path.parent))
        return warm.exit_code(work, str(run.path), *moment)


def outcome(run: RunDir) -> tuple[dict, dict, dict]:
    learner = torch.load(run.artifacts / "learner.pt", weights_only=True)["learner"]
    return learner["network"] | learner["target_mixer"], run.series(), run.scores()


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory) -> RunDir:
    run = run_dir.create(compose(SETTINGS), root=tmp_path_factory.mktemp("whole"))
    assert run_worker(run) == 0
    return run


@pytest.mark.parametrize(
    ("moment", "sealed"),
    [("data", []), ("update", ["00000002"]), ("evaluation", ["00000002", "00000004"])],
)
def test_resume_after_sigkill_gives_equal_weights_metrics_and_scores(
    moment, sealed, uninterrupted, tmp_path
):
    run = run_dir.create(compose(SETTINGS), root=tmp_path)
    assert run_worker(run, moment) == -signal.SIGKILL
    assert run.status().state == "killed"
    assert sorted(path.name for path in run.checkpoints.glob("[0-9]*")) == sealed
    with start.cold() if moment == "data" else nullcontext():  # once by a process that is no fork
        assert run_worker(run) == 0
    weights, series, scores = outcome(run)
    expected_weights, expected_series, expected_scores = outcome(uninterrupted)
    assert series == expected_series
    assert sorted(series["loss"]) == [1, 2, 3, 4, 5, 6]
    assert scores == expected_scores
    assert all(torch.equal(weights[name], value) for name, value in expected_weights.items())

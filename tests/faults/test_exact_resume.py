"""A killed and resumed RLRT run is the uninterrupted run, bit for bit."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from labrun.config.experiments import compose
from labrun.runs import run_dir
from labrun.runs.run_dir import RunDir

KILL_AT = Path(__file__).with_name("kill_at.py")
SETTINGS = [
    "plugin=rlrt",
    "seed=3",
    "max_steps=6",
    "save_every=2",
    "prompts_per_step=4",
    "num_generations=4",
    "micro_batch_size=8",
    "learning_rate=1e-3",
    "evaluate_every=3",
    "accuracy.num_samples=1",
    "max_problems=8",
]


def run_worker(run: RunDir, *before: str) -> int:
    command = [sys.executable, *(before or ("-m", "labrun.worker")), str(run.path)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    return subprocess.run(command, env=environment, capture_output=True).returncode


def outcome(run: RunDir) -> tuple[bytes, dict, dict]:
    weights = (run.artifacts / "model" / "model.safetensors").read_bytes()
    series = {k: v for k, v in run.series().items() if not k.startswith("time/")}
    return weights, series, run.scores()


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory) -> RunDir:
    run = run_dir.create(compose(SETTINGS), root=tmp_path_factory.mktemp("whole"))
    assert run_worker(run) == 0
    return run


@pytest.mark.parametrize("moment", ["sampling", "update", "checkpoint"])
def test_resume_after_sigkill_gives_equal_weights_metrics_and_scores(
    moment, uninterrupted, tmp_path
):
    run = run_dir.create(compose(SETTINGS), root=tmp_path)
    assert run_worker(run, str(KILL_AT), moment) == -signal.SIGKILL
    assert run.status().state == "killed"
    sealed = sorted(path.name for path in run.checkpoints.glob("[0-9]*"))
    assert sealed == ["00000002"]
    environment = {**os.environ, "LABRUN_HOME": str(tmp_path)}
    environment |= {"TMPDIR": str(tmp_path), "LABRUN_LEASES": str(tmp_path / "leases")}
    resumed = subprocess.run(
        [sys.executable, "-m", "labrun.cli", "resume", run.id],
        env=environment,
        capture_output=True,
    )
    assert resumed.returncode == 0, resumed.stderr.decode()
    weights, series, scores = outcome(run)
    expected_weights, expected_series, expected_scores = outcome(uninterrupted)
    assert series == expected_series
    assert sorted(series["loss"]) == [1, 2, 3, 4, 5, 6]
    assert scores == expected_scores
    assert weights == expected_weights

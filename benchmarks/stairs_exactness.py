"""Gradients of both kernels of STAIRS-Former against float64, and what their largest errors are.

    OMP_NUM_THREADS=1 python benchmarks/stairs_exactness.py

A ReLU has no derivative at 0. A hidden unit whose input is so near 0 that rounding changes its sign
has another slope in float32 than in float64, and both are right. So each error is printed twice:
as it is, and against float64 with those units switched as the kernel switched them.

`kernel=torch` shows its decisions. `kernel=cpp` does not, so they are found: of the units that are
nearest to 0 in float64 each is switched alone. While one of these changes makes the largest
difference of the kernel from float64 smaller, that unit is taken as switched.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import harness
import numpy as np
import torch
from lab_marl.episodes.batches import Batch, make_batch
from stairs_throughput import (
    KERNELS,
    LAYOUTS,
    Gradients,
    Kernel,
    draw_lengths,
    largest_error,
    network_gradients,
    random_episodes,
)
from torch import Tensor
from torch.overrides import TorchFunctionMode

GOAL = 2e-6
"""Largest error of a tensor's gradient over its largest element."""
Unit = tuple[int, int]
"""(number of the call of ReLU that carries a gradient, place in its flat input)."""


@dataclass
class Decisions(TorchFunctionMode):
    """Keeps the inputs of every ReLU that carries a gradient, or switches units."""

    switched: Sequence[Unit] = ()
    inputs: list[Tensor] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is not torch.nn.functional.relu or not torch.is_grad_enabled():
            return func(*args, **(kwargs or {}))
        call, x = len(self.inputs), args[0]
        self.inputs.append(x.detach())
        passes = x.detach().flatten() > 0
        for place in [place for number, place in self.switched if number == call]:
            passes[place] = ~passes[place]
        return x * passes.view_as(x)


def main() -> None:
    options = harness.parser("stairs_exactness", __doc__)
    options.add_argument("--tasks", nargs="+", choices=LAYOUTS, default=["cn-4", "3m"])
    options.add_argument("--batches", type=int, default=8, help="seeds 0, 1, ...")
    options.add_argument("--batch-size", type=int, default=32, help="episodes")
    options.add_argument("--nearest", type=int, default=16, help="units that are switched alone")
    chosen = options.parse_args()
    torch.set_num_threads(1)
    result = {
        "claim": f"with equal decisions at every ReLU the error is at most {GOAL}",
        "options": vars(chosen) | {"out": None},
        "machine": harness.machine(),
        "batches": [],
    }
    for task in chosen.tasks:
        for seed in range(chosen.batches):
            result["batches"] += measure(task, seed, chosen)
            harness.write(chosen.out, result)
    errors = [row["same_decisions"] for row in result["batches"]]
    result["goal_met"] = max(errors) <= GOAL
    harness.write(chosen.out, result)


def measure(task: str, seed: int, chosen: argparse.Namespace) -> list[dict[str, Any]]:
    """One row for each kernel."""
    batch = batch_of(task, seed, chosen.batch_size)
    seen = Decisions()
    exact = gradients(batch, "torch", torch.float64, seen)
    rows = []
    for kernel in KERNELS:
        own = Decisions()
        found = gradients(batch, kernel, torch.float32, own)
        error = largest_error(found, exact)
        if kernel == "torch":
            units = switched_units(own.inputs, seen.inputs)
        elif error > GOAL:
            units = explaining_units(
                batch, found, exact, nearest_units(seen.inputs, chosen.nearest)
            )
        else:
            units = []
        same = gradients(batch, "torch", torch.float64, Decisions(units)) if units else exact
        row = {
            "task": task,
            "seed": seed,
            "kernel": kernel,
            "error": error,
            "switched": [float(seen.inputs[call].flatten()[place]) for call, place in units],
            "same_decisions": largest_error(found, same),
            "units": sum(x.numel() for x in seen.inputs),
        }
        rows.append(row)
        inputs = ", ".join(f"{value:.1e}" for value in row["switched"]) or "none"
        print(
            f"{task} seed {seed} {kernel:5}  error {error:.1e}  units switched, by their input: "
            f"{inputs}  error with the same decisions {row['same_decisions']:.1e}",
            flush=True,
        )
    return rows


def batch_of(task: str, seed: int, episodes: int) -> Batch:
    """Random episodes whose lengths are drawn from the published data."""
    rng, layout = np.random.default_rng([0, seed]), LAYOUTS[task]
    drawn = random_episodes(layout, draw_lengths(layout, episodes, rng), rng)
    return make_batch(layout, drawn, np.arange(len(drawn)), device=torch.device("cpu"))


def gradients(batch: Batch, kernel: Kernel, dtype: torch.dtype, decisions: Decisions) -> Gradients:
    with decisions:
        return network_gradients(batch, kernel, dtype)


def switched_units(ours: list[Tensor], exact: list[Tensor]) -> list[Unit]:
    """Units that pass in one of the two and not in the other."""
    return [
        (call, int(place))
        for call, (a, b) in enumerate(zip(ours, exact, strict=True))
        for place in ((a > 0) != (b > 0)).flatten().nonzero()
    ]


def nearest_units(inputs: list[Tensor], count: int) -> list[Unit]:
    """The units whose inputs are nearest to 0."""
    near = []
    for call, x in enumerate(inputs):
        values, places = x.abs().flatten().topk(min(count, x.numel()), largest=False)
        near += list(zip(values.tolist(), [call] * len(places), places.tolist(), strict=True))
    return [(call, place) for _, call, place in sorted(near)[:count]]


def explaining_units(
    batch: Batch, found: Gradients, exact: Gradients, candidates: Sequence[Unit]
) -> list[Unit]:
    """Those of the candidates whose switching makes up the difference of `found` from `exact`."""

    def difference(gradients: Gradients) -> Tensor:
        pairs = zip(gradients, exact, strict=True)
        return torch.cat([((a - b) / b.abs().max()).flatten() for a, b in pairs])

    changes = {
        unit: difference(gradients(batch, "torch", torch.float64, Decisions([unit])))
        for unit in candidates
    }
    left, chosen = difference(found), []
    while changes and left.abs().max() > GOAL:
        unit = min(changes, key=lambda unit: float((left - changes[unit]).abs().max()))
        after = left - changes.pop(unit)
        if after.abs().max() >= left.abs().max():
            break
        left = after
        chosen.append(unit)
    return chosen


if __name__ == "__main__":
    main()

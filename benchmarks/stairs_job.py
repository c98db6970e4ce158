"""CPU seconds of whole jobs of STAIRS-Former, beside the same jobs with the plain reference.

    OMP_NUM_THREADS=1 python benchmarks/stairs_job.py --data DATA

A job is a process: it starts, reads the published episodes of cn-4, updates, saves, and plays 32
greedy episodes at the end. Both sides have one thread, equal batches and the same evaluation. The
reference (`stairs_reference.py`) updates by the published three passes. The published code plays
one episode after another, which is not imitated: it would take longer still.
"""

import copy
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import harness
import stairs_reference as reference
import torch
from lab_marl.environments.interface import Policy
from lab_marl.episodes.batches import Batch
from lab_marl.training.trainer import OfflineTrainer
from lab_stairs.learner import StairsLearner
from labrun import worker
from labrun.config.experiments import compose
from labrun.runs import run_dir
from torch import nn

SIDES = ("reference", "labrun")
GOALS = {"published": 3.0, "filled": 4.0}
TASK = "cn-4"
JOB = (
    "plugin=stairs",
    f"train_tasks=[{TASK}]",
    f"test_tasks=[{TASK}]",
    "trainer.kernel=cpp",
    "evaluate_start=false",
    "figures=false",
    "save_every=50",
)


class ReferenceLearner(StairsLearner):
    """Updates the plain reference's networks; what it has learned is played by our own."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.online = reference.Networks(self.layouts[0], self.config)
        self.behind = copy.deepcopy(self.online)
        self.steps = 0
        self.generator = torch.Generator().manual_seed(0)
        self.plain = torch.optim.Adam(self.online.parameters(), lr=self.config.learning_rate)

    def update(self, batch: Batch) -> dict[str, float]:
        config = self.config
        keep = reference.draw_keep(batch, config.token_dropout, self.generator)
        total, _, _ = reference.loss(self.online, self.behind, batch, keep, config)
        self.plain.zero_grad(set_to_none=True)
        total.backward()
        norm = nn.utils.clip_grad_norm_(self.online.parameters(), config.max_grad_norm)
        self.plain.step()
        self.steps += 1
        if self.steps % config.target_update_every == 0:
            self.behind.load_state_dict(self.online.state_dict())
        return {"loss": total.item(), "grad_norm": norm.item()}

    def policy(self) -> Policy:
        self.network.load_state_dict(reference.fast_names(self.online.agent.state_dict()))
        return super().policy()


def main() -> int:
    options = harness.parser("stairs_job", __doc__)
    options.add_argument("--data", type=Path, help="folder with the published grid episodes")
    options.add_argument("--steps", type=int, default=200, help="updates of a job")
    options.add_argument("--pairs", type=int, default=1, help="jobs of a side and mask")
    options.add_argument(
        "--work", nargs=2, metavar=("SIDE", "RUN"), help="one job, for this script"
    )
    chosen = options.parse_args()
    if chosen.work:
        return work(*chosen.work)
    if chosen.data is None:
        options.error("say where the published episodes are: --data DATA")
    before, found = harness.machine(), {}
    with tempfile.TemporaryDirectory() as folder:
        harness.keep_bytecode(Path(folder) / "bytecode")
        for mask in GOALS:
            words = [*JOB, f"dataset.path={chosen.data}", f"trainer.bc_mask={mask}"]
            words.append(f"trainer.max_steps={chosen.steps}")
            found[mask] = measured(Path(folder) / mask, words, chosen.pairs)
            show(mask, found[mask])
    named = vars(chosen) | {"out": None, "data": None, "work": None}
    result = {"claim": "a whole job takes a third (published) or a quarter (filled) of the time"}
    harness.write(
        chosen.out, result | {"goals": GOALS, "masks": found, "options": named, "machine": before}
    )
    return 0


def measured(folder: Path, words: list[str], pairs: int) -> dict[str, Any]:
    """CPU seconds of each job, by side, their ratios, and the win rates of what they learned."""
    seconds: dict[str, list[float]] = {side: [] for side in SIDES}
    won: dict[str, list[float]] = {side: [] for side in SIDES}
    for seed in range(pairs):
        for side in SIDES:
            run = run_dir.create(compose([*words, f"seed={seed}"]), root=folder)
            command = [sys.executable, __file__, "--work", side, str(run.path)]
            seconds[side].append(harness.timed(command)["cpu_s"])
            won[side].append(list(run.scores()[TASK, "win_rate"].values())[-1].value)
    ratios = [theirs / ours for theirs, ours in zip(*seconds.values(), strict=True)]
    return {"cpu_s": seconds, "win_rate": won, "ratio": harness.spread(ratios)}


def show(mask: str, found: dict[str, Any]) -> None:
    ratio, goal = found["ratio"], GOALS[mask]
    spreads = {side: harness.spread(taken) for side, taken in found["cpu_s"].items()}
    sides = "  ".join(f"{side} {harness.show(spread)}" for side, spread in spreads.items())
    met = "met" if ratio["median"] >= goal else "not met"
    print(f"{mask:<10} CPU s: {sides}  ratio {harness.show(ratio)}  goal {goal}: {met}")


def work(side: str, run: str) -> int:
    """One job in this process."""
    os.environ["LABRUN_ATTEMPT"] = "0"
    torch.set_num_threads(1)
    if side == "reference":
        OfflineTrainer.learner = lambda self, layouts, device: ReferenceLearner(
            layouts, self.config, device=device
        )
    return worker.main([run])


if __name__ == "__main__":
    sys.exit(main())

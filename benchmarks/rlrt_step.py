"""What an RLRT step costs relative to a GRPO step.

Both trainers are built by lab_llm.training.run from the same weights, seed, sampler and
prompts; only the objective differs. Blocks of a few steps alternate in one process (grpo rlrt, rlrt
grpo, ...). The learning rate is so small that no weight changes, so step i has the same rollouts in
every block, and step times are compared pair by pair.
"""

import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import harness
import torch
from lab_llm.datasets.countdown import CountdownDataset
from lab_llm.datasets.countdown_config import CountdownConfig
from lab_llm.policy.config import PolicyConfig
from lab_llm.policy.policy import load_policy
from lab_llm.training.run import build_trainer
from lab_rlrt.config import RLRTConfig
from lab_rlrt.methods import make_objective
from labrun.config import experiments as config
from labrun.runs import run_dir
from labrun.runs.context import RunContext
from transformers.trainer_callback import TrainerCallback
from transformers.utils import logging

GOAL = 1.25
FROZEN = 1e-12
STAGES = ("time/sample", "time/verify", "time/teacher", "time/update")
FACTS = ("teacher_scored_fraction", "uniform_group_fraction", "pass_rate", "completion_length")


@dataclass
class Clock(TrainerCallback):
    """Seconds of each whole step, optimizer and all: of the clock, and of this process's CPU."""

    seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)
    began: tuple[float, float] = (0.0, 0.0)

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        self.began = time.perf_counter(), time.process_time()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.seconds.append(time.perf_counter() - self.began[0])
        self.cpu_seconds.append(time.process_time() - self.began[1])


@dataclass(frozen=True)
class Block:
    """Step times (s) of one block and the metrics that the trainer logged, by name and step."""

    seconds: list[float]
    cpu_seconds: list[float]
    series: Mapping[str, dict[int, float]]

    def values(self, name: str) -> list[float]:
        found = self.series.get(name, {})
        return [found.get(step + 1, 0.0) for step in range(len(self.seconds))]


def main() -> None:
    options = harness.parser("rlrt_step", __doc__)
    options.add_argument("--steps", type=int, default=4, help="steps of a block")
    options.add_argument("--repeats", type=int, default=6, help="pairs of blocks")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--model", default="tiny", help="trainer.model.name")
    options.add_argument("--threads", type=int, default=1)
    chosen = options.parse_args()
    torch.set_num_threads(chosen.threads)
    logging.disable_progress_bar()
    before = harness.machine()
    settings = RLRTConfig(
        model=PolicyConfig(name=chosen.model),
        max_steps=chosen.steps,
        learning_rate=FROZEN,
        save_every=chosen.steps + 1,
    )
    blocks: dict[str, list[Block]] = {"grpo": [], "rlrt": []}
    run_block(settings, "rlrt", chosen.seed)  # first use: allocator, caches, imports
    for repeat in range(chosen.repeats):
        for method in ("grpo", "rlrt") if repeat % 2 == 0 else ("rlrt", "grpo"):
            blocks[method].append(run_block(settings, method, chosen.seed))
            mean = sum(blocks[method][-1].seconds) / chosen.steps
            print(f"pair {repeat + 1}/{chosen.repeats}  {method}  {mean:.3f} s a step", flush=True)
    result = summary(blocks) | {"options": vars(chosen) | {"out": None}, "machine": before}
    report(result)
    harness.write(chosen.out, result)


def run_block(settings: RLRTConfig, method: Any, seed: int) -> Block:
    """A few steps of one method, from the model's own weights."""
    with tempfile.TemporaryDirectory() as folder:
        experiment = config.compose(["plugin=rlrt", f"method={method}", f"seed={seed}"])
        run = run_dir.create(experiment, root=Path(folder))
        ctx = RunContext(
            run=run, seed=seed, attempt=0, devices=(), resume_from=None, keep_checkpoints=1
        )
        torch.manual_seed(ctx.derive_seed("torch"))
        policy = load_policy(settings.model)
        sets = CountdownDataset(CountdownConfig()).load(ctx)
        its = replace(settings, credit=method)
        trainer = build_trainer(ctx, policy, sets, its, make_objective(its))
        clock = Clock()
        trainer.add_callback(clock)
        trainer.train()
        return Block(clock.seconds, clock.cpu_seconds, run.series())


def summary(blocks: dict[str, list[Block]]) -> dict[str, Any]:
    """Paired ratios, and the means of what the steps did."""
    pairs = list(zip(blocks["grpo"], blocks["rlrt"], strict=True))
    for grpo, rlrt in pairs:
        if grpo.values("reward") != rlrt.values("reward"):
            raise AssertionError("the arms sampled different rollouts: the steps are not paired")
    ratios = _ratios([(grpo.seconds, rlrt.seconds) for grpo, rlrt in pairs])
    cpu_ratios = _ratios([(grpo.cpu_seconds, rlrt.cpu_seconds) for grpo, rlrt in pairs])
    return {
        "claim": "an RLRT step costs at most 1.25 times a GRPO step",
        "goal": GOAL,
        "ratio": harness.spread(ratios),
        "cpu_ratio": harness.spread(cpu_ratios),
        "goal_met": harness.spread(ratios)["median"] <= GOAL,
        "arms": {method: _arm(found) for method, found in blocks.items()},
    }


def _ratios(pairs: Sequence[tuple[list[float], list[float]]]) -> list[float]:
    """rlrt / grpo of every step of every pair of blocks."""
    return [b / a for grpo, rlrt in pairs for a, b in zip(grpo, rlrt, strict=True)]


def _arm(blocks: list[Block]) -> dict[str, Any]:
    seconds = {"step_s": harness.spread([s for block in blocks for s in block.seconds])}
    names = (*STAGES, *FACTS)
    return seconds | {
        name: harness.spread([v for block in blocks for v in block.values(name)]) for name in names
    }


def report(result: dict[str, Any]) -> None:
    for method, arm in result["arms"].items():
        parts = "  ".join(f"{n.removeprefix('time/')} {arm[n]['median']:.3f}" for n in STAGES)
        print(f"{method:<5} step {harness.show(arm['step_s'], ' s')}  {parts}")
    scored = result["arms"]["rlrt"]["teacher_scored_fraction"]["median"]
    print(f"rollouts scored by the teacher: {scored:.1%}")
    print(f"ratio rlrt/grpo of CPU seconds: {harness.show(result['cpu_ratio'])}")
    print(
        f"ratio rlrt/grpo: {harness.show(result['ratio'])}  goal <= {GOAL}: "
        f"{'met' if result['goal_met'] else 'not met'}"
    )


if __name__ == "__main__":
    main()

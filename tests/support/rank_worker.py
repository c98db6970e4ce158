"""A worker whose rollouts depend on their place alone: rank_worker.py RUN_DIR OUT [STEP].

However many ranks share a step, each of its rollouts is drawn with a seed of its own. OUT gets the
weights that each rank's evaluations see. In the last rank, SIGTERM arrives at the end of STEP.

A process that a launcher starts imports this module and calls `patch`; RANK_OUT is then OUT. At the
end of the step RANK_HOLD_AT the last rank stands still, the first time.
"""

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import torch
from lab_llm.sampling.sampler import Samples
from lab_llm.training import decoding, run_trainer, teacher_scoring
from lab_llm.training.teacher_weights import TeacherWeights
from labrun import worker
from labrun.runs.context import RunContext

RANK, WORLD_SIZE = (
    int(os.environ.get(name, one)) for name, one in (("RANK", 0), ("WORLD_SIZE", 1))
)
OUT = Path(os.environ.get("RANK_OUT") or sys.argv[2])
STOP_AT = [] if "RANK_OUT" in os.environ else [int(step) for step in sys.argv[3:]]
HOLD_AT = os.environ.get("RANK_HOLD_AT", "")
original_sample, original_evaluate = decoding.sample, RunContext.evaluate
original_save = TeacherWeights.save
original_step_end = run_trainer.RunCallback.on_step_end


def sample(model: Any, prompts: Any, *, num_samples: int, generator: Any, **settings: Any) -> Any:
    rows = [prompt for prompt in prompts for _ in range(num_samples)]
    found = Samples([], [], [])
    for row, prompt in enumerate(rows, start=RANK * len(rows)):
        generator.manual_seed(row)
        one = original_sample(model, [prompt], num_samples=1, generator=generator, **settings)
        found.completion_ids.extend(one.completion_ids)
        found.logprobs.extend(one.logprobs)
        found.finished.extend(one.finished)
    return found


def evaluate(self: RunContext, model: Any, data: Any, *, step: int) -> Any:
    torch.save(model.model.state_dict(), OUT / f"{step}-{RANK}.pt")
    return original_evaluate(self, model, data, step=step)


def on_step_end(self: Any, args: Any, state: Any, control: Any, **rest: Any) -> Any:
    if state.global_step in STOP_AT and RANK == WORLD_SIZE - 1:
        signal.raise_signal(signal.SIGTERM)
    held = OUT / "held"
    if str(state.global_step) == HOLD_AT and RANK == WORLD_SIZE - 1 and not held.exists():
        held.touch()
        time.sleep(600)
    return original_step_end(self, args, state, control, **rest)


def save(self: Any, folder: Path) -> None:
    """Note how many of the teacher's weights this rank holds between two steps."""
    parameters = [] if self.model is None else self.model.parameters()
    held = sum(parameter.numel() for parameter in parameters)
    (OUT / f"held-{RANK}").write_text(str(held))
    original_save(self, folder)


def patch() -> None:
    decoding.sample, RunContext.evaluate = sample, evaluate
    TeacherWeights.save = save
    teacher_scoring.HEAD_TOKENS = (
        20  # so that ranks differ in the calls of a scoring teacher's head
    )
    run_trainer.RunCallback.on_step_end = on_step_end


if __name__ == "__main__":
    patch()
    sys.exit(worker.main(sys.argv[1:2]))

"""A worker that dies by SIGKILL at a chosen moment, or at none."""

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from lab_llm.sampling import decoder
from lab_llm.training import engines
from lab_llm.training import trainer as grpo
from labrun import worker
from labrun.runs import checkpoints


def dying(function: Callable[..., Any], *, call: int) -> Callable[..., Any]:
    """The function, killing the process on its `call`-th call."""
    calls = 0

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **kwargs)

    return wrapped


def arm(moment: str) -> None:
    if moment == "sampling":
        # the rollouts of step 4, after some of their tokens
        original = engines.DecoderRollouts.sample

        def sample(self: Any, prompts: Any, trainer: Any) -> Any:
            if trainer.state.global_step == 3:
                decoder.Decoder.decode = dying(decoder.Decoder.decode, call=5)
            return original(self, prompts, trainer)

        engines.DecoderRollouts.sample = sample
    elif moment == "update":
        # two micro-batches a step: the second of step 4, with the first one's gradient in place
        grpo.PolicyTrainer.compute_loss = dying(grpo.PolicyTrainer.compute_loss, call=8)
    elif moment == "checkpoint":
        # the second checkpoint, all files written and the manifest not
        checkpoints.write_json = dying(checkpoints.write_json, call=2)
    else:
        raise SystemExit(f"no moment {moment!r}")


def work(path: str, moment: str = "") -> None:
    """The worker of the run in `path`."""
    if moment:
        arm(moment)
    sys.exit(worker.main([path]))

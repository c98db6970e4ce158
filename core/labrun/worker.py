"""One attempt at one run, in its own process: `python -m labrun.worker RUN_DIR`."""

import json
import os
import random
import signal
import socket
import sys
import time
import traceback
from pathlib import Path

import numpy as np

from labrun import checkpoints, provenance
from labrun.context import RunContext
from labrun.errors import (
    EXIT_CONFIG,
    EXIT_DIVERGED,
    EXIT_DONE,
    EXIT_PREEMPTED,
    DivergedError,
    LabError,
    PreemptedError,
)
from labrun.parts import build
from labrun.run_dir import RunDir, write_json

EXIT_FAILED = 1
ENDINGS: dict[type[Exception], tuple[str, int]] = {
    LabError: ("refused", EXIT_CONFIG),
    DivergedError: ("diverged", EXIT_DIVERGED),
    PreemptedError: ("preempted", EXIT_PREEMPTED),
}


def main(argv: list[str] | None = None) -> int:
    (path,) = sys.argv[1:] if argv is None else argv
    run = RunDir(Path(path))
    attempt = int(os.environ.get("LABRUN_ATTEMPT", "0"))
    devices = tuple(d for d in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if d)
    run.write_status(
        state="running",
        attempt=attempt,
        exit_code=None,
        message="",
        pid=os.getpid(),
        host=socket.gethostname(),
        devices=devices,
        started=time.time(),
        ended=None,
    )
    state, code, message = _attempt(run, attempt, devices)
    run.write_status(state=state, exit_code=code, message=message, ended=time.time())
    return code


def _attempt(run: RunDir, attempt: int, devices: tuple[str, ...]) -> tuple[str, int, str]:
    try:
        fit(run, attempt=attempt, devices=devices)
    except Exception as error:  # the last place where a component's failure can be recorded
        for kind, (state, code) in ENDINGS.items():
            if isinstance(error, kind):
                print(f"lab: {error}", file=sys.stderr)
                return state, code, str(error)
        traceback.print_exc()
        return "failed", EXIT_FAILED, f"{type(error).__name__}: {error}"
    return "done", EXIT_DONE, ""


def fit(run: RunDir, *, attempt: int, devices: tuple[str, ...]) -> None:
    """Load, train, evaluate: the whole life of one attempt."""
    experiment = run.experiment()
    parts = build(experiment)
    context = RunContext(
        run=run,
        seed=experiment.run.seed,
        attempt=attempt,
        devices=devices,
        resume_from=checkpoints.latest(run.checkpoints),
        keep_checkpoints=experiment.run.keep_checkpoints,
        evaluators=tuple(parts.evaluators.values()),
    )
    signal.signal(signal.SIGTERM, lambda *_: setattr(context, "should_stop", True))
    context.start_attempt()
    if not (run.path / "provenance.json").exists():
        provenance.record(run, seed=experiment.run.seed)
    random.seed(context.derive_seed("python"))
    np.random.seed(context.derive_seed("numpy") % 2**32)
    context.progress(stage="load")
    _same_data(run, parts.dataset.fingerprint())
    try:
        data = parts.dataset.load(context)
        result = parts.trainer.fit(context, data)
        context.step = result.step
        context.evaluate(result.model, data, step=result.step)
    finally:
        run.write_status(step=context.step)
    context.progress(step=result.step, stage="done")


def _same_data(run: RunDir, fingerprint: str) -> None:
    """Keep the data's fingerprint; raise LabError where an earlier attempt saw other data."""
    path = run.path / "data.json"
    if not path.exists():
        write_json(path, {"fingerprint": fingerprint})
    elif json.loads(path.read_text())["fingerprint"] != fingerprint:
        raise LabError(
            f"the data of run {run.id} changed since it began; restore it, or start a new run"
        )


if __name__ == "__main__":
    sys.exit(main())

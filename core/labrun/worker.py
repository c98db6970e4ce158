"""One attempt at one run, in its own process: `python -m labrun.worker RUN_DIR`.

For a job of several processes this one only starts them (`labrun.ranks`) and waits. Under another
launcher (`accelerate launch -m labrun.worker RUN_DIR`) each process is a rank at once.
"""

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

from labrun import checkpoints, environment, failures, provenance, ranks
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
from labrun.ranks import EXIT_FAILED, Ending, Place
from labrun.run_dir import RunDir, write_json

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
    place = ranks.place()
    if place is not None and (place.rank > 0 or ranks.has_launcher()):
        return _rank(run, attempt, devices, place)
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
    if place is None and (num_processes := _num_processes(run)) > 1:
        ending = ranks.launch([sys.executable, "-m", "labrun.worker", path], num_processes)
    else:
        ending = _attempt(run, attempt, devices, place or Place())
    run.write_status(
        state=ending.state, exit_code=ending.code, message=ending.message, ended=time.time()
    )
    return ending.code


def _num_processes(run: RunDir) -> int:
    """Processes that the run asks for; one where its spec is damaged, which then says so."""
    try:
        return run.experiment().run.resources.processes
    except LabError:
        return 1


def _rank(run: RunDir, attempt: int, devices: tuple[str, ...], place: Place) -> int:
    """One of several processes; the first one, or their launcher, writes the status."""
    ending = _attempt(run, attempt, devices, place)
    if ranks.has_launcher():
        ranks.leave(ending)
    return ending.code


def _attempt(run: RunDir, attempt: int, devices: tuple[str, ...], place: Place) -> Ending:
    try:
        fit(run, attempt=attempt, devices=devices, place=place)
    except Exception as error:  # the last place where a component's failure can be recorded
        for kind, (state, code) in ENDINGS.items():
            if isinstance(error, kind):
                print(f"lab: {error}", file=sys.stderr)
                return Ending(state, code, str(error))
        traceback.print_exc()
        _keep_failure(run, error, attempt, place)
        return Ending("failed", EXIT_FAILED, f"{type(error).__name__}: {error}")
    except SystemExit as ended:  # a component must not end a run without a word
        traceback.print_exc()
        _keep_failure(run, ended, attempt, place)
        return Ending("failed", EXIT_FAILED, f"a component ended the process: exit({ended.code!r})")
    return Ending("done", EXIT_DONE)


def _keep_failure(run: RunDir, error: BaseException, attempt: int, place: Place) -> None:
    if place.rank == 0:
        failures.record(run, error, attempt=attempt)


def fit(run: RunDir, *, attempt: int, devices: tuple[str, ...], place: Place) -> None:
    """Load, train, evaluate: the whole life of one attempt."""
    asked: list[int] = []  # a SIGTERM that arrives before there is a context
    signal.signal(signal.SIGTERM, lambda number, _: asked.append(number))
    experiment = run.experiment()
    parts = build(experiment)
    parts.check_processes(place.world_size, key="WORLD_SIZE")
    context = RunContext(
        run=run,
        seed=experiment.run.seed,
        attempt=attempt,
        devices=devices,
        resume_from=checkpoints.latest(run.checkpoints),
        keep_checkpoints=experiment.run.keep_checkpoints,
        evaluators=tuple(parts.evaluators.values()),
        rank=place.rank,
        world_size=place.world_size,
    )
    signal.signal(signal.SIGTERM, lambda *_: setattr(context, "should_stop", True))
    context.should_stop |= bool(asked)
    context.start_attempt()
    for message in environment.notes():
        context.note(message)
    if place.rank == 0 and not (run.path / "provenance.json").exists():
        provenance.record(run, seed=experiment.run.seed)
    random.seed(context.derive_seed("python"))
    np.random.seed(context.derive_seed("numpy") % 2**32)
    context.progress(stage="load")
    _same_data(run, parts.dataset.fingerprint(), keep=place.rank == 0)
    try:
        data = parts.dataset.load(context)
        if context.should_stop:
            raise PreemptedError("stopped before training")
        result = parts.trainer.fit(context, data)
        context.evaluate(result.model, data, step=result.step)
    finally:
        if place.rank == 0:
            run.write_status(step=context.step)
    context.progress(step=result.step, stage="done")


def _same_data(run: RunDir, fingerprint: str, *, keep: bool) -> None:
    """Keep the data's fingerprint, if `keep`; LabError where an earlier attempt saw other data."""
    path = run.path / "data.json"
    if keep and not path.exists():
        write_json(path, {"fingerprint": fingerprint})
    elif path.exists() and json.loads(path.read_text())["fingerprint"] != fingerprint:
        raise LabError(
            f"the data of run {run.id} changed since it began; restore it, or start a new run"
        )


if __name__ == "__main__":
    sys.exit(main())

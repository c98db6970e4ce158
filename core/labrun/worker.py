"""One attempt at one run, in its own process: `python -m labrun.worker RUN_DIR`.

For a job of several processes this one only starts them (`labrun.attempts.ranks`) and waits. Under
another launcher (`accelerate launch -m labrun.worker RUN_DIR`) each process is a rank at once.
"""

import gc
import os
import random
import shutil
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType, MappingProxyType

import numpy as np

from labrun.attempts import causes, environment, failures, leaving, machines, provenance, ranks
from labrun.attempts.loading import UnloadableError
from labrun.attempts.machines import Machines
from labrun.attempts.ranks import EXIT_FAILED, Ending, Place
from labrun.config.components import build, trained
from labrun.errors import (
    EXIT_CONFIG,
    EXIT_DISK,
    EXIT_DIVERGED,
    EXIT_DONE,
    EXIT_PREEMPTED,
    DivergedError,
    LabError,
    PreemptedError,
)
from labrun.runs import resume_point, submission
from labrun.runs.context import RunContext
from labrun.runs.run_dir import RunDir, write_json
from labrun.system import disk, processes, streams

UNLOADABLE = "unloadable"
"""Ending of a try whose checkpoint cannot be loaded; the one before it is tried next."""
ENDINGS: dict[type[Exception], tuple[str, int]] = {
    UnloadableError: (UNLOADABLE, EXIT_FAILED),
    LabError: ("refused", EXIT_CONFIG),
    DivergedError: ("diverged", EXIT_DIVERGED),
    PreemptedError: ("preempted", EXIT_PREEMPTED),
}


def main(argv: list[str] | None = None) -> int:
    path, *words = sys.argv[1:] if argv is None else argv
    passed_over = {name: why for name, _, why in (word.partition("=") for word in words)}
    run = RunDir(Path(path))
    attempt = int(os.environ.get("LABRUN_ATTEMPT", "0"))
    devices = tuple(d for d in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if d)
    place = ranks.place()
    if place is not None and (place.rank > 0 or ranks.has_launcher()):
        return _rank(run, attempt, devices, place, passed_over)
    try:
        there = machines.here(run) if place is None else Machines()
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return _record(run, Ending("refused", EXIT_CONFIG, str(error)))
    if there.rank > 0:
        return _part(run, there, passed_over)
    run.write_status(
        state="running",
        attempt=attempt,
        exit_code=None,
        message="",
        pid=os.getpid(),
        process=processes.me(),
        host=socket.gethostname(),
        devices=devices,
        started=time.time(),
        ended=None,
    )
    if place is None and submission.is_cancelled(run.path):
        return _record(run, Ending("preempted", EXIT_PREEMPTED, submission.NEVER_BEGAN))
    num_processes = _num_processes(run) if place is None else 1
    ending = Ending(UNLOADABLE, EXIT_FAILED)
    while ending.state == UNLOADABLE:
        if num_processes > 1 or there.count > 1:
            start = there.announce(attempt, passed_over) if there.count > 1 else None
            command = _rank_command(path, passed_over)
            ending = ranks.launch(command, num_processes, machines=there, start=start)
        else:
            ending = _attempt(run, attempt, devices, place or Place(), passed_over)
        if ending.state == UNLOADABLE and place is not None:
            ending = Ending("refused", EXIT_CONFIG, f"{ending.message}; remove that checkpoint")
        elif ending.state == UNLOADABLE:
            passed_over[_tried(run, passed_over)] = ending.message
    return _record(run, ending)


def _part(run: RunDir, there: Machines, passed_over: Mapping[str, str]) -> int:
    """The ranks of a machine other than the first, whose worker records how they ended."""
    start = there.start()
    assert start is not None, "this worker is started for an announced start"
    command = _rank_command(str(run.path), passed_over)
    return ranks.launch(command, _num_processes(run), machines=there, start=start).code


def _rank_command(path: str, passed_over: Mapping[str, str]) -> list[str]:
    words = [f"{name}={why}" for name, why in passed_over.items()]
    return [sys.executable, "-m", "labrun.worker", path, *words]


def _num_processes(run: RunDir) -> int:
    """Processes of the run on this machine; 1 if its spec is damaged, which they report."""
    try:
        return run.experiment().run.resources.local_processes
    except LabError:
        return 1


def _tried(run: RunDir, passed_over: Mapping[str, str]) -> str:
    """The name of the checkpoint from which a try went on."""
    path = resume_point.find(run, passed_over).path
    assert path is not None, "only a checkpoint can be unloadable"
    return path.name


def _rank(
    run: RunDir,
    attempt: int,
    devices: tuple[str, ...],
    place: Place,
    passed_over: Mapping[str, str],
) -> int:
    """One of several processes; the first one, or their launcher, writes the status."""
    ending = _attempt(run, attempt, devices, place, passed_over)
    return _record(run, ending) if ranks.has_launcher() else ending.code


def _attempt(
    run: RunDir,
    attempt: int,
    devices: tuple[str, ...],
    place: Place,
    passed_over: Mapping[str, str] = MappingProxyType({}),
) -> Ending:
    def exits(error: SystemExit, ending: Ending) -> None:
        _keep_failure(run, error, attempt, place)
        if ranks.has_launcher() or place.rank == 0:
            _record(run, ending)

    try:
        with causes.told_of_exits(exits):
            fit(run, attempt=attempt, devices=devices, place=place, passed_over=passed_over)
    except BaseException as error:  # the last place where a component's failure can be recorded
        for kind, (state, code) in ENDINGS.items():
            if isinstance(error, kind):
                print(f"lab: {error}", file=sys.stderr)
                return Ending(state, code, str(error))
        traceback.print_exc()
        ending = causes.failure(error, run)
        _keep_failure(run, error, attempt, place)
        return ending
    return Ending("done", EXIT_DONE)


def _keep_failure(run: RunDir, error: BaseException, attempt: int, place: Place) -> None:
    """Keep why the attempt failed; the first rank also removes the draft that it was writing, which
    may fill the disk. Of several ranks the first to fail is kept: the others lost a peer."""
    is_lasting = failures.is_lasting(run, error)  # asked before there is room again
    if place.rank == 0:
        for draft in run.checkpoints.glob(".draft-*"):
            shutil.rmtree(draft, ignore_errors=True)
    if place.world_size > 1 and failures.of(run, attempt=attempt) is not None:
        return
    try:
        failures.record(run, error, attempt=attempt, is_lasting=is_lasting)
    except OSError as error:
        print(f"lab: why this attempt failed could not be written: {error}", file=sys.stderr)


def _record(run: RunDir, ending: Ending) -> int:
    """The exit code of an attempt whose ending was written where it belongs."""
    if ranks.has_launcher():
        ranks.leave(ending)
        return ending.code
    words = {"state": ending.state, "exit_code": ending.code, "message": ending.message}
    try:
        disk.patiently(lambda: run.write_status(**words, ended=time.time()))
    except (OSError, LabError) as error:
        print(f"lab: the ending could not be written: {error}", file=sys.stderr)
        return EXIT_DISK
    return ending.code


def fit(
    run: RunDir,
    *,
    attempt: int,
    devices: tuple[str, ...],
    place: Place,
    passed_over: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Load, train, evaluate: the whole life of one attempt.

    `passed_over`: names of checkpoints that could not be loaded, and why.
    """
    asked: list[int] = []  # a signal that arrives before there is a context
    _on_stop(lambda number, _: asked.append(number))
    experiment = run.experiment()
    parts = build(experiment)
    resources = experiment.run.resources
    setup = parts.setup(place.world_size, resources)
    if place.world_size != resources.processes:  # another launcher's number
        parts.plan_for(setup, key="WORLD_SIZE")
    resumed = resume_point.find(run, passed_over)
    context = RunContext(
        run=run,
        seed=experiment.run.seed,
        attempt=attempt,
        devices=devices,
        resume_from=resumed.path,
        sealed=resumed.events,
        keep_checkpoints=experiment.run.keep_checkpoints,
        evaluators=tuple(parts.evaluators.values()),
        setup=setup,
        rank=place.rank,
        world_size=place.world_size,
    )
    _on_stop(lambda *_: setattr(context, "should_stop", True))
    context.should_stop |= bool(asked)
    context.start_attempt()
    for fault in resumed.damage:
        context.warn(f"checkpoint passed over: {fault}")
    for message in environment.notes():
        context.note(message)
    if place.rank == 0 and not (run.path / "provenance.json").exists():
        provenance.record(run, seed=experiment.run.seed)
    random.seed(context.derive_seed("python"))
    np.random.seed(context.derive_seed("numpy") % 2**32)
    gc.freeze()  # what was imported stays, and is never searched for garbage
    gc.enable()
    context.progress(stage="load")
    _same_data(run, parts.dataset.fingerprint(), keep=place.rank == 0)
    try:
        data = parts.dataset.load(context)
        context.count_anew()
        if context.should_stop:
            raise PreemptedError("stopped before training")
        result = trained(parts.trainer, parts.trainer.fit(context, data))
        context.evaluate(result.model, data, step=result.step)
    finally:
        if place.rank == 0:
            run.write_status(step=context.step, sealed=context.seal_events())
    context.progress(step=result.step, stage="done")


def _on_stop(handler: Callable[[int, FrameType | None], object]) -> None:
    """Let signals only ask for an end: the run stops at its next checkpoint."""
    for number in processes.STOPS:
        signal.signal(number, handler)


def _same_data(run: RunDir, fingerprint: str, *, keep: bool) -> None:
    """Keep the data's fingerprint, if `keep`; LabError where an earlier attempt saw other data."""
    path = run.path / "data.json"
    if keep and not path.exists():
        write_json(path, {"fingerprint": fingerprint})
    elif path.exists() and run.data_fingerprint() != fingerprint:
        raise LabError(
            f"the data of run {run.id} changed since it began; restore it, or start a new run"
        )


if __name__ == "__main__":
    streams.keep()
    gc.disable()  # imports make no garbage: looking for it takes a fifth of their time
    exit_code = main()
    leaving.announce()
    gc.freeze()  # else Python takes all of it apart as it ends: seconds, with torch
    sys.exit(exit_code)

"""What became of runs whose command has ended: the run directory's word, else the scheduler's."""

import os
import signal
import time
from collections.abc import Iterable, Sequence

from labrun.errors import EXIT_PREEMPTED, LabError
from labrun.launch import launchers
from labrun.launch.launchers import Word
from labrun.runs import submission
from labrun.runs.run_dir import RunDir
from labrun.runs.signs import last_step
from labrun.runs.submission import Submitted

SILENT_S = 3 * submission.BEAT_S
"""Seconds without a sign of life from a job after which its scheduler is asked."""
OPEN = ("queued", "running")


def submitted(runs: Iterable[RunDir]) -> dict[str, Submitted]:
    """Run id -> its job, of the runs that a cluster's launcher has."""
    jobs = {run.id: submission.read(run.path) for run in runs}
    return {key: job for key, job in jobs.items() if job and job.launcher in launchers.LAUNCHERS}


def words(runs: Sequence[RunDir], *, ask_all: bool = False) -> dict[str, Word]:
    """Run id -> what its scheduler says, of the runs that have not ended and whose job is silent,
    or of all that have not ended.

    The ending of a job that is gone without a word is recorded in its run. A scheduler that does
    not answer changes nothing.
    """
    states = [(run, run.recorded_status().state) for run in runs]
    return words_of(states, ask_all=ask_all)


def words_of(recorded: Iterable[tuple[RunDir, str]], *, ask_all: bool = False) -> dict[str, Word]:
    """As `words`, of runs whose recorded state is known."""
    silent = [
        run for run, state in recorded if state in OPEN and (ask_all or _is_silent(run, state))
    ]
    said = asked(silent)
    for run in silent:
        if run.id in said and said[run.id].state == "gone":
            record_loss(run, said[run.id])
    return said


def _is_silent(run: RunDir, state: str) -> bool:
    return state == "queued" or submission.silence(run.path) > SILENT_S


def asked(runs: Iterable[RunDir]) -> dict[str, Word]:
    """Run id -> what its scheduler says, whatever the run's directory does."""
    jobs = submitted(runs)
    said: dict[Submitted, Word] = {}
    for name in {job.launcher for job in jobs.values()}:
        own = [job for job in jobs.values() if job.launcher == name]
        try:
            said |= launchers.of(name).look(own)
        except LabError as error:
            said |= {job: Word("unknown", reason=str(error)) for job in own}
    return {key: said[job] for key, job in jobs.items()}


def record_loss(run: RunDir, word: Word) -> None:
    """Write the ending of a run whose job is gone, unless somebody has it or it has ended after
    all."""
    try:
        claim = run.claim()
    except LabError:
        return
    try:
        status = run.recorded_status()
        if status.state in OPEN:
            step = max(status.step, last_step(run.path))
            run.write_status(**_lost(run, word), ended=time.time(), step=step)
    finally:
        os.close(claim)


def _lost(run: RunDir, word: Word) -> dict[str, object]:
    job = submission.read(run.path)
    ending = f"its {job} is gone: {word.reason or 'its queue knows it no more'}"
    log = run.path.parent / ".slurm" / f"{job.id if job else ''}.log"
    more = f"; the end of {log} may say why" if log.exists() else ""
    state = "preempted" if word.reason.startswith(("CANCELLED", "PREEMPTED")) else "killed"
    code = EXIT_PREEMPTED if state == "preempted" else -signal.SIGKILL
    return {"state": state, "exit_code": code, "message": ending + more}

"""How an attempt ended, in plain words: its state, its exit code, why, and what to do next."""

import signal

from labrun.attempts import memory
from labrun.attempts.causes import MUST_NOT_EXIT
from labrun.attempts.ranks import EXIT_FAILED, RESERVED, Ending
from labrun.errors import EXIT_DISK, EXIT_DONE, EXIT_HANG, EXIT_PREEMPTED
from labrun.launch.jobs import Job
from labrun.runs.run_dir import ENDED, RunDir
from labrun.system import processes


def of_job(job: Job, code: int) -> Ending:
    """The ending of a job that has ended with this code, by what it recorded and how it went."""
    recorded = job.run.recorded_status()
    own = Ending(recorded.state, recorded.exit_code or EXIT_DONE, recorded.message)
    if job.ended_for == "lingering":
        words = f"its process did not leave by itself and was ended: {job.held_up_by}"
        return _with(own, words)
    if job.ended_for == "hung":
        return Ending("hung", EXIT_HANG, _silence_words(job))
    if job.ended_for == "heedless":
        text = "it did not stop when it was asked to, and was killed"
        return Ending("killed", -signal.SIGKILL, f"{text}; {_goes_on(job.run)}")
    ending = own if recorded.state in ENDED else _wordless(job, code)
    if ending.state == "preempted" and job.out_of_time:
        limit = job.config.resources.time_limit
        return _with(ending, f"its time limit of {limit:g} min was near" if limit else "")
    return _with(ending, _memory_words(job)) if own.state == "failed" else ending


def _silence_words(job: Job) -> str:
    """How long the job was silent, and in which stage."""
    stage = job.run.progress().get("stage")
    where = f", in the stage {stage!r}" if stage else ""
    return f"no sign of life for {job.config.hang_timeout_s:g} s{where}"


def _wordless(job: Job, code: int) -> Ending:
    """The ending of a job that recorded none."""
    if -code in processes.STOPS:
        return Ending(
            "preempted", EXIT_PREEMPTED, "stopped before it was ready to write a checkpoint"
        )
    if code < 0:
        text = f"ended by signal {-code} ({_name(-code)})"
        return _with(Ending("killed", code, text), _memory_words(job) or _peak(job, -code))
    if code == EXIT_DISK:
        return Ending("failed", code, "No space left on device: its last word did not fit")
    kept = EXIT_FAILED if code in RESERVED else code
    text = f"its process exited with code {code} and recorded no ending; {MUST_NOT_EXIT}"
    return Ending("failed", kept, f"{text}; the end of {job.run.path / 'stdio.log'} may say who")


def _name(number: int) -> str:
    """The signal's name; those between SIGRTMIN and SIGRTMAX have none in Python."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"SIGRTMIN+{number - signal.SIGRTMIN}"


def _memory_words(job: Job) -> str:
    if not job.was_out_of_memory():
        return ""
    advice = memory.advice(job.run, peak_bytes=job.peak_bytes)
    return f"the kernel killed a process for want of memory meanwhile: {advice}"


def _peak(job: Job, number: int) -> str:
    """What is known of a signal that no `lab` command sent."""
    most, whose = memory.limit()
    peak = f"its peak of memory was {job.peak_bytes / 2**30:.2f} of {most / 2**30:.1f} GiB"
    words = f"not by lab; {peak} ({whose})"
    if number != signal.SIGKILL:
        return words
    return f"{words}; by the kernel's out-of-memory killer, if nobody else sent it"


def _goes_on(run: RunDir) -> str:
    return f"`lab resume {run.id}` goes on from its last checkpoint"


def _with(ending: Ending, words: str) -> Ending:
    message = "; ".join(filter(None, (ending.message, words)))
    return Ending(ending.state, ending.code, message)

"""SLURM's own commands, and what they say of jobs."""

import os
import shutil
import subprocess
from collections.abc import Collection, Iterable, Mapping, Sequence

from labrun.errors import LabError, shown
from labrun.launch.launchers import Word

ANSWER_S = 60.0
WAITS = ("PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT")
RUNS = ("RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "SIGNALING", "STAGE_OUT", "RESIZING")
NO_REASON = ("None", "(null)", "")
UNKNOWN_JOB = "Invalid job id"
ARRAY = 1001
"""SLURM's default of MaxArraySize, the most tasks of an array."""
FILTERS = ("SQUEUE_", "SCANCEL_", "SACCT_")
"""Beginnings of variables by which a shell narrows what SLURM's commands list and end."""


def call(
    program: str,
    *words: str,
    text: str = "",
    answer_s: float = ANSWER_S,
    without: Collection[str] = (),
) -> str:
    """What the program prints, started without the shell's FILTERS and the variables `without`.

    Raises LabError with its own words where it fails.
    """
    if shutil.which(program) is None:
        raise LabError(
            f"launcher=slurm: no {program} on PATH; start `lab` where SLURM's commands are, or use "
            "launcher=local"
        )
    kept = (name for name in os.environ if not name.startswith(FILTERS) and name not in without)
    try:
        done = subprocess.run(
            [program, *words],
            input=text,
            capture_output=True,
            text=True,
            timeout=answer_s,
            env={name: os.environ[name] for name in kept},
        )
    except subprocess.TimeoutExpired:
        raise LabError(f"SLURM does not answer: {program} took {answer_s:g} s") from None
    if done.returncode:
        said = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        raise LabError(f"{program}: {shown(said[-1] if said else 'failed and says nothing')}")
    return done.stdout


def submit(script: str, *, without: Collection[str]) -> str:
    """The id of the job that SLURM made of the script. `without`: variables kept from sbatch."""
    said = call("sbatch", "--parsable", text=script, without=without)
    return said.strip().splitlines()[-1].partition(";")[0]


def refuse_infeasible(script: str, *, without: Collection[str]) -> None:
    """Raise LabError where SLURM would never start the script's job. Nothing is submitted."""
    call("sbatch", "--test-only", text=script, without=without)


def largest_array() -> int:
    """The most tasks that an array may have on this cluster."""
    try:
        listed = call("scontrol", "show", "config")
    except LabError:  # sbatch will say what is wrong
        return ARRAY
    settings = dict(
        line.replace(" ", "").split("=", 1) for line in listed.splitlines() if "=" in line
    )
    return max(1, int(settings.get("MaxArraySize", ARRAY)))


def look(ids: Sequence[str]) -> dict[str, Word]:
    """What SLURM says of each job: its queue first, then its accounting, where there is one."""
    try:
        queue = _queue(ids)
    except LabError as error:
        return {one: Word("unknown", reason=str(error)) for one in ids}
    gone = [one for one in ids if one not in queue]
    reasons = _accounts(gone) if gone else {}
    return {one: queue.get(one) or Word("gone", reason=reasons.get(one, "")) for one in ids}


def _queue(ids: Sequence[str]) -> dict[str, Word]:
    """The jobs that the queue still lists, ended ones for some minutes."""
    form = "%i|%T|%N|%r"
    try:
        listed = call(
            "squeue", "--noheader", "--states=all", "--array", f"--jobs={','.join(ids)}",
            f"--format={form}",
        )  # fmt: skip
    except LabError as error:
        if UNKNOWN_JOB in str(error):
            return {}
        raise
    rows = [line.strip().split("|", 3) for line in listed.splitlines()]
    return {row[0]: _word(*row[1:]) for row in rows if len(row) == 4}


def _word(state: str, nodes: str, reason: str) -> Word:
    reason = "" if reason in NO_REASON else reason
    if state in WAITS:
        return Word("waiting", reason=reason)
    if state in RUNS:
        return Word("running", where=nodes)
    return Word("gone", where=nodes, reason=f"{state} ({reason})" if reason else state)


def _accounts(ids: Iterable[str]) -> Mapping[str, str]:
    """How jobs ended that the queue does not list, as far as the accounting knows.

    It may be absent, or behind: what it calls running has ended, since the queue would list it.
    """
    if shutil.which("sacct") is None:
        return {}
    try:
        listed = call(
            "sacct", "--allocations", "--noheader", "--parsable2", f"--jobs={','.join(ids)}",
            "--format=JobID,State,ExitCode",
        )  # fmt: skip
    except LabError:
        return {}
    rows = [line.strip().split("|") for line in listed.splitlines()]
    ended = [row for row in rows if len(row) == 3 and row[1] not in (*WAITS, *RUNS)]
    return {job: state if code == "0:0" else f"{state} {code}" for job, state, code in ended}

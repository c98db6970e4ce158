"""The sbatch script of one job, or of an array with one task for each run.

It asks for the resources, tells `labrun.launch.job` who it is, and puts the job back into the queue
where that process asks for it, or died without a word.
"""

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from labrun.errors import LabError
from labrun.experiment import RunConfig
from labrun.launch.requeues import AGAIN

WORKER = "{worker}"
OWN = """\
#!/bin/bash
srun --kill-on-bad-exit=1 {worker}
"""
MOST_LIVES = 1000
"""Lives of a job after which its script itself puts it back no more."""
OWN_VARIABLES = ("SBATCH_ARRAY_INX", "SBATCH_NO_REQUEUE", "SBATCH_REQUEUE", "SBATCH_WAIT")
"""sbatch's variables of what labrun alone decides: the jobs of one call, whether it waits for them,
and whether they go on."""
HEAD = """\
set -- {runs}
shift "${{SLURM_ARRAY_TASK_ID:-0}}"
export LABRUN_RUN=$1
lab_run=${{1##*/}}
lab_job=$SLURM_JOB_ID
if [ -n "$SLURM_ARRAY_TASK_ID" ]; then
    lab_job=${{SLURM_ARRAY_JOB_ID}}_$SLURM_ARRAY_TASK_ID
    scontrol update "JobId=$SLURM_JOB_ID" "JobName=${{lab_run%-*-*-*}}" "Comment=$lab_run"
fi
export LABRUN_JOB="slurm $lab_job ${{SLURM_RESTART_COUNT:-0}}"
export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK
{more}lab_goes_on() {{
    [ -e "$LABRUN_RUN/{again}" ] || grep -q '"state": "running"' "$LABRUN_RUN/status.json"
}}
lab_end() {{
    lab_code=$?
    # A job that is being ended (cancelled, preempted, put back) is left to SLURM.
    if lab_goes_on && [ "${{SLURM_RESTART_COUNT:-0}}" -lt {most} ] &&
        [ "$(squeue --noheader --jobs="$SLURM_JOB_ID" --format=%T)" = RUNNING ]; then
        scontrol requeue "$SLURM_JOB_ID" && sleep 300
    fi
    exit $lab_code
}}
trap lab_end EXIT
trap : TERM
"""
MEETING = """\
lab_first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
lab_first=$(scontrol -o show node "$lab_first" | sed 's/.* NodeAddr=\\([^ ]*\\) .*/\\1/')
export LABRUN_MEET=$lab_first:$((10000 + SLURM_JOB_ID % 20000))
"""


@dataclass(frozen=True)
class Batch:
    """Runs of equal requests that are submitted together."""

    config: RunConfig
    runs: Sequence[Path]
    """Their directories."""
    after: str = ""
    """Id of a job that must have ended before these runs begin; empty: none."""

    @property
    def name(self) -> str:
        """What queues show: plugin, method and seed of a run; of a sweep its group."""
        if len(self.runs) > 1:
            return self.config.group or self.runs[0].name.rsplit("-", 3)[0]
        return self.runs[0].name.rsplit("-", 3)[0]

    @property
    def log(self) -> str:
        """Where SLURM and the script write; the run's own output is in its stdio.log."""
        folder = str(self.runs[0].parent / ".slurm").replace("%", "%%")
        return f"{folder}/%A_%a.log" if len(self.runs) > 1 else f"{folder}/%j.log"


def template(config: RunConfig) -> str:
    """The text of the user's script, or of labrun's own. Raises LabError."""
    if not config.slurm.script:
        return OWN
    path = Path(config.slurm.script)
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise LabError(f"slurm.script={path}: cannot be read ({error})") from error
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    if sum(line.count(WORKER) for line in lines) != 1:
        raise LabError(
            f"slurm.script={path}: {WORKER} must stand once, where the job's command belongs, such "
            f"as `srun --kill-on-bad-exit=1 {WORKER}`"
        )
    if not text.startswith("#!"):
        raise LabError(f"slurm.script={path}: its first line must name a shell: #!/bin/bash")
    return text


def text(batch: Batch, *, worker: str = "") -> str:
    """The whole script. `worker` takes the place of the job's command, for a probe."""
    lines = template(batch.config).splitlines(keepends=True)
    first = next(i for i, line in enumerate(lines) if line.strip() and not line.startswith("#"))
    python = shlex.quote(batch.config.slurm.python or sys.executable)
    command = worker or f'{python} -m labrun.launch.job "$LABRUN_RUN"'
    own = _options(batch, is_probe=bool(worker))
    head = "" if worker else _head(batch)
    body = "".join(lines[first:]).replace(WORKER, command)
    return "".join([*lines[:first], *(f"#SBATCH {option}\n" for option in own), head, body])


def beaten(batch: Batch, *, is_probe: bool = False) -> frozenset[str]:
    """Variables of sbatch that stand for an option of labrun's in the script: sbatch must not see
    them, since it puts them above the script's lines."""
    asked = _asked(batch, is_probe=is_probe)
    named = (f"SBATCH_{name.upper().replace('-', '_')}" for name in asked if name != "time")
    return frozenset([*OWN_VARIABLES, *named, *(["SBATCH_TIMELIMIT"] if "time" in asked else [])])


def _head(batch: Batch) -> str:
    resources = batch.config.resources
    limit = round(resources.time_limit * 60)
    more = f"export LABRUN_ENDS=$(($(date +%s) + {limit}))\n" if limit else ""
    return HEAD.format(
        runs=" ".join(shlex.quote(str(path)) for path in batch.runs),
        more=more + (MEETING if resources.num_nodes > 1 else ""),
        most=MOST_LIVES,
        again=AGAIN,
    )


def _options(batch: Batch, *, is_probe: bool) -> list[str]:
    """What the settings ask of sbatch. A later option of SLURM wins, so that they do over those of
    the user's script."""
    asked = _asked(batch, is_probe=is_probe)
    words = [shlex.quote(f"--{name}={value}") for name, value in asked.items()]
    return words if is_probe else [*words, "--requeue"]


def _asked(batch: Batch, *, is_probe: bool) -> dict[str, str]:
    """sbatch's option -> its value."""
    config, resources = batch.config.slurm, batch.config.resources
    wanted = {"partition": config.partition, "account": config.account, "qos": config.qos}
    options: dict[str, str] = {name: value for name, value in wanted.items() if value}
    if is_probe:
        own = {"job-name": "lab-probe", "output": "/dev/null", "nodes": "1", "time": "1"}
        return {**options, **own}
    options |= {
        "job-name": batch.name,
        "comment": batch.runs[0].name if len(batch.runs) == 1 else batch.config.group,
        "output": batch.log,
        "open-mode": "append",
        "signal": f"TERM@{round(resources.save_ahead_s)}",
        "nodes": str(resources.num_nodes),
        "ntasks-per-node": "1",
        "cpus-per-task": str(resources.num_cpus),
    }
    if batch.after:
        options["dependency"] = f"afterany:{batch.after}"
    if resources.num_gpus:
        kind = f"{config.gpu_type}:" if config.gpu_type else ""
        options["gres"] = f"gpu:{kind}{resources.num_gpus}"
    if resources.time_limit:
        options["time"] = str(max(1, -(-round(resources.time_limit * 60) // 60)))
    if len(batch.runs) > 1:
        most = f"%{config.max_running}" if config.max_running else ""
        options["array"] = f"0-{len(batch.runs) - 1}{most}"
    return options

"""What is asked of Ray for a run, and whether a node of the cluster can ever give it."""

import os
import shlex
import socket
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from labrun.attempts import machines
from labrun.errors import LabError
from labrun.experiment import RayConfig, RunConfig
from labrun.launch.jobs import ENDS
from labrun.launch.ray.cluster import PYTHON, RUN, Request
from labrun.runs.submission import Submitted

STOP_WAIT = "RAY_JOB_STOP_WAIT_TIME_S"
"""Variable with the seconds that Ray gives a job between SIGTERM and SIGKILL."""
KILL_S = 60.0
"""Seconds after which Ray kills a job that labrun should have ended."""
FOR_EVER_S = 10**8
KIND = "accelerator_type:"
SOME = 0.001


def of(
    run: Path, config: RunConfig, *, number: int, variables: Mapping[str, str] | None = None
) -> Request:
    """The request for one job of the run, its `number`-th.

    `variables`: those of the job before it; None: the shell's.
    """
    resources = config.resources
    job = f"{run.name}-{number}"
    stop_s = config.stop_timeout_s
    own = {
        machines.JOB: f"ray {job} {number}",
        STOP_WAIT: str(round(stop_s + KILL_S) if stop_s else FOR_EVER_S),
    }
    return Request(
        job,
        entrypoint(run, config),
        num_cpus=resources.num_cpus,
        num_gpus=resources.num_gpus,
        resources=_kind(config.ray),
        variables=dict(shell_variables(config.ray) if variables is None else variables) | own,
        metadata={RUN: str(run), PYTHON: config.ray.python},
    )


def entrypoint(run: Path, config: RunConfig) -> str:
    """The shell's line. `exec`, since a shell in between would swallow SIGTERM."""
    limit = round(config.resources.time_limit * 60)
    ends = f"export {ENDS}=$(($(date +%s) + {limit})); " if limit else ""
    return f"{ends}exec {config.ray.python} -m labrun.launch.job {shlex.quote(str(run))}"


def shell_variables(config: RayConfig) -> dict[str, str]:
    """The shell's variables that jobs get, those that are set."""
    return {name: os.environ[name] for name in config.pass_variables if name in os.environ}


def next_number(job: Submitted | None) -> int:
    """The number of the job that follows this one; no two jobs of a run have one id."""
    return job.number + 1 if job is not None and job.launcher == "ray" else 0


def submitted(job_id: str, config: RunConfig, *, number: int) -> Submitted:
    """What the run's directory says of a job that is submitted now."""
    host, now = socket.gethostname(), time.time()
    return Submitted("ray", job_id, config.ray.address, host, now, number)


def refuse_infeasible(config: RunConfig, nodes: Sequence[Mapping[str, float]]) -> None:
    """Raise LabError where no node has all that the run asks for, even when it is free: Ray would
    let it wait for ever."""
    resources, kind = config.resources, _kind(config.ray)
    if resources.num_nodes > 1:
        raise LabError(
            f"resources.num_nodes={resources.num_nodes}: launcher=ray gives a run one node; "
            "launcher=slurm gives several"
        )
    if config.ray.grows:
        return
    wanted = {"CPU": resources.num_cpus, "GPU": resources.num_gpus, **kind}
    if any(all(node.get(name, 0) >= least for name, least in wanted.items()) for node in nodes):
        return
    shown = ", ".join(f"{least:g} {name}" for name, least in wanted.items() if name not in kind)
    of_kind = f" of {config.ray.gpu_type}" if kind else ""
    raise LabError(
        f"no node of the Ray cluster has {shown}{of_kind}; its nodes have {_listed(nodes)}; ask "
        "for less, or ray.grows=true where the cluster adds larger ones"
    )


def _kind(config: RayConfig) -> dict[str, float]:
    return {KIND + config.gpu_type: SOME} if config.gpu_type else {}


def _listed(nodes: Sequence[Mapping[str, float]]) -> str:
    """The nodes' sizes, each once: `2 x (8 CPU, 4 GPU A100)`."""
    sizes = sorted(_size(node) for node in nodes)
    return ", ".join(f"{sizes.count(one)} x ({one})" for one in dict.fromkeys(sizes)) or "nothing"


def _size(node: Mapping[str, float]) -> str:
    kinds = "".join(f" {name.removeprefix(KIND)}" for name in node if name.startswith(KIND))
    return f"{node.get('CPU', 0):g} CPU, {node.get('GPU', 0):g} GPU{kinds}"

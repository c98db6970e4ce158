"""The keys that every run has, whatever its plugin."""

import re
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le
from pydantic import AfterValidator

from labrun.schema import schema

MAX_LABEL_BYTES = 200
_NO_LABEL = re.compile(r"^[.\s]|[/\\:*?|$%@\x00-\x1f\x7f-\x9f\u2028\u2029]")


def _label(text: str) -> str:
    """The text, which can be a folder's name and a word in a shell. Raises ValueError."""
    if _NO_LABEL.search(text) or len(text.encode()) > MAX_LABEL_BYTES:
        raise ValueError(
            f"a group label has at most {MAX_LABEL_BYTES} bytes, none of / \\ : * ? | $ % @, and "
            "begins with no dot or space"
        )
    return text


@schema
class ResourcesConfig:
    num_gpus: Annotated[int, Ge(0)] = 0
    """GPUs that the job holds alone."""
    min_gpu_memory_gib: Annotated[float, Ge(0)] = 0.0
    """Memory that each of these GPUs must have, in GiB."""
    num_cpus: Annotated[int, Ge(1)] = 1
    """CPU slots that the job holds; also its number of threads."""
    num_processes: Annotated[int, Ge(0)] = 0
    """Processes that share the work, each with its share of the threads. 0: one per GPU, one
    without GPUs."""
    wait: bool = False
    """Wait for GPUs that another job holds now, instead of refusing."""
    num_nodes: Annotated[int, Ge(1)] = 1
    """Machines that share the job; GPUs, CPU slots and processes above count on each of them. Only
    slurm gives more than one."""
    time_limit: Annotated[float, Ge(0)] = 0.0
    """Minutes that a job may take, on slurm and ray with its retries; 0: no limit, or the
    partition's. One that is not done by then has saved a checkpoint. On slurm it goes on as the
    same job, on ray as the next one; else `lab resume` goes on."""
    save_ahead_s: Annotated[float, Ge(1)] = 120.0
    """Seconds before the time limit at which the job is asked to end its step and save a
    checkpoint, whatever `save_every` says. Both must fit into this time."""

    @property
    def local_processes(self) -> int:
        """Processes on each of the job's machines."""
        return self.num_processes or max(1, self.num_gpus)

    @property
    def processes(self) -> int:
        """Processes of the job, on all its machines."""
        return self.num_nodes * self.local_processes


@schema
class SlurmConfig:
    """Of `launcher=slurm` alone."""

    partition: str = ""
    """Partition of the jobs; empty: the cluster's default."""
    account: str = ""
    """Account that the jobs are charged to; empty: your default."""
    qos: str = ""
    """Quality of service; empty: the partition's."""
    gpu_type: str = ""
    """Kind of GPU, such as a100, as `sinfo -o %G` names it; empty: any."""
    script: str = ""
    """File with an sbatch script of your own, in which {worker} stands for the job's command: for
    modules, containers, further options. `lab run --dry-run` prints what is made of it. Empty: the
    one of labrun."""
    python: str = ""
    """Python with labrun on the nodes, such as python3 of a container; empty: the one of `lab`."""
    max_running: Annotated[int, Ge(0)] = 0
    """Runs of one sweep that run at once; 0: as many as the cluster lets."""
    max_requeues: Annotated[int, Ge(0)] = 5
    """How often a job is put back into the queue in a row without having saved a further
    checkpoint: after a preemption, a time limit or a lost node."""
    sees_home: bool = False
    """Whether you know that the nodes see LABRUN_HOME. Otherwise a job of a second finds out, where
    the folder lies on no network file system."""


def _dashboard(text: str) -> str:
    if not text.startswith(("http://", "https://")):
        raise ValueError("the address of Ray's dashboard begins with http:// or https://")
    return text.rstrip("/")


@schema
class RayConfig:
    """Of `launcher=ray` alone."""

    address: Annotated[str, AfterValidator(_dashboard)] = "http://127.0.0.1:8265"
    """Address of the cluster's dashboard, as this machine reaches it."""
    python: str = "python"
    """Command that starts a Python with labrun on the nodes."""
    gpu_type: str = ""
    """Kind of GPU, such as A100, as Ray names it (`accelerator_type:A100`); empty: any."""
    pass_variables: tuple[str, ...] = ("PYTHONPATH", "LABRUN_KEY", "HF_HOME")
    """Variables of your shell that the jobs get too. Whoever may ask the cluster for its jobs can
    read them."""
    max_requeues: Annotated[int, Ge(0)] = 5
    """How often a run is submitted again in a row without having saved a further checkpoint: after
    a time limit, or the loss of its node or its processes."""
    grows: bool = False
    """Whether the cluster adds nodes, larger ones too, when jobs wait. Then no request is refused
    for its size."""
    sees_home: bool = False
    """Whether you know that all nodes see LABRUN_HOME and have labrun. Otherwise a job on each of
    them finds out, where the folder lies on no network file system."""


@schema
class TrackingConfig:
    uri: str = ""
    """MLflow tracking URI, such as http://host:5000. Empty: that of the variable
    MLFLOW_TRACKING_URI, else sqlite in LABRUN_HOME; `tracking.uri=''` passes the variable over. It
    holds no password: MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD in the shell do."""
    also: tuple[Literal["tensorboard", "wandb"], ...] = ()
    """Further places that get the metrics and scores: `[tensorboard]` writes event files into the
    run's folder, `[wandb]` a run of Weights & Biases. Each needs its extra, `labrun[tensorboard]`.
    Empty: none."""


@schema
class RunConfig:
    seed: Annotated[int, Ge(0), Le(2**32 - 1)] = 0
    """Seed of every random stream of the run."""
    group: Annotated[str, AfterValidator(_label)] = ""
    """Label under which runs are compared, also a folder's name: none of / \\ : * ? | $ % @, and
    no dot or space at its beginning. It stays as it is typed (`1.10`, `null`). Empty: one made for
    this command."""
    sweep: tuple[str, ...] = ()
    """Words such as `method=grpo,sdpo` over which `lab run` repeats the experiment, as if they
    stood on the command line with -m; a key that does stand there takes its place. Presets set
    it."""
    launcher: Literal["local", "slurm", "ray"] = "local"
    """Where jobs run: local, a pool of processes on this machine; slurm, jobs of a SLURM cluster;
    ray, jobs of a Ray cluster. `lab run` submits to a cluster and ends."""
    max_retries: Annotated[int, Ge(0)] = 2
    """Fresh starts from the last good checkpoint after a crash."""
    hang_timeout_s: Annotated[float, Ge(0)] = 1800.0
    """Seconds without a sign of life after which a job is stopped as hung; 0: never."""
    stop_timeout_s: Annotated[float, Ge(0)] = 1800.0
    """Seconds that a job has, once it was asked to stop, to end its batch, write its checkpoint and
    leave; then it is killed. 0: for ever. A second Ctrl-C kills it at once."""
    keep_checkpoints: Annotated[int, Ge(1)] = 2
    """Newest checkpoints kept in the run directory."""
    resources: ResourcesConfig = ResourcesConfig()
    """What the scheduler gives the job."""
    slurm: SlurmConfig = SlurmConfig()
    """How jobs are submitted to SLURM."""
    ray: RayConfig = RayConfig()
    """How jobs are submitted to Ray."""
    tracking: TrackingConfig = TrackingConfig()
    """Where the results are mirrored."""

    @property
    def max_requeues(self) -> int:
        """How often a job goes on in a row without a further checkpoint."""
        return self.ray.max_requeues if self.launcher == "ray" else self.slurm.max_requeues


@schema
class Parent:
    """The run that another one goes on from, with more steps."""

    run: str
    """Its id."""
    directory: str
    """Where it lay."""
    step: int
    """Optimizer step of the checkpoint that was taken over."""
    changed: tuple[str, ...] = ()
    """Settings other than `max_steps` that differ from the parent's."""
    follow_max_steps: tuple[str, ...] | None = ()
    """Settings by which the parent's steps depend on its own `max_steps`: with any, this is no run
    of so many steps from the start. None: the trainer does not say."""


@schema
class Experiment:
    """One run, fully decided: the truth that is frozen in its directory.

    `settings` holds the plain values by section (trainer, dataset, evaluator.NAME);
    `components` the qualified component behind each section; `choices` the preset of each group;
    `defaults` the words of the user's file of defaults that it has, each with file and line.
    """

    plugin: str
    run: RunConfig
    settings: dict[str, dict[str, Any]]
    components: dict[str, str]
    choices: dict[str, str]
    overrides: tuple[str, ...]
    parent: Parent | None = None
    defaults: tuple[str, ...] = ()

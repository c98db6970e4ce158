"""A Ray cluster by the address of its dashboard: its nodes, its jobs, and what is asked of them."""

import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar
from urllib.parse import urlsplit

from ray.job_submission import JobDetails, JobSubmissionClient
from ray.util.state import list_nodes

from labrun.errors import EXIT_PREEMPTED, LabError, shown

T = TypeVar("T")
ANSWER_S = 60.0
RUN, PYTHON, KEEPER = "labrun_run", "labrun_python", "labrun_keeper"
"""What a job's metadata says of it: its run's directory, its Python, the folder that it keeps."""
ADDRESSES = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")
"""Variables that Ray's client puts above the address that it is given."""
QUEUED_TOO_LONG = "JOB_SUPERVISOR_ACTOR_START_TIMEOUT"
HEADING = "Running entrypoint for job "
"""Ray's own line in a job's output, which may come after the command's."""
LOST = ("JOB_SUPERVISOR_ACTOR_DIED", "JOB_SUPERVISOR_ACTOR_UNKNOWN_FAILURE", QUEUED_TOO_LONG)
"""Endings of a job that are none of its command: Ray lost its node or its process, or gave up."""


@dataclass(frozen=True)
class Request:
    """What is asked of Ray: one command on one node."""

    id: str
    entrypoint: str
    num_cpus: float = 0
    num_gpus: float = 0
    resources: Mapping[str, float] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class RayJob:
    """What Ray knows of a job."""

    id: str
    state: Literal["PENDING", "RUNNING", "STOPPED", "SUCCEEDED", "FAILED"]
    message: str = ""
    error: str = ""
    """Ray's kind of failure; empty where it did not fail."""
    exit_code: int | None = None
    """That of its command; None where it did not exit, or nobody saw it."""
    where: str = ""
    """The node on which it runs or ran."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)
    """Those that it was submitted with."""

    @property
    def number(self) -> int:
        """Which of its run's jobs it is."""
        return int(self.id.rpartition("-")[2])

    @property
    def run(self) -> Path | None:
        """The directory of its run."""
        return Path(self.metadata[RUN]) if RUN in self.metadata else None

    @property
    def has_ended(self) -> bool:
        return self.state not in ("PENDING", "RUNNING")

    @property
    def goes_on(self) -> bool:
        """Whether its run goes on in another job: it asked for that, or it was lost or killed."""
        code = self.exit_code
        was_killed = code is not None and (code == EXIT_PREEMPTED or code < 0)
        return self.state == "FAILED" and (self.error in LOST or was_killed)

    @property
    def ending(self) -> str:
        """How it ended, in one line."""
        if self.state == "STOPPED":
            return "CANCELLED"
        lines = [line for line in self.message.splitlines() if line.strip()]
        lines = [line for line in lines if not line.startswith(HEADING)]
        text = f": {shown(lines[-1])}" if lines and self.state == "FAILED" else ""
        return f"{self.error or self.state}{text}"


class Cluster:
    """Every question has a minute to be answered. Raises LabError where it is not, in one line."""

    def __init__(self, address: str | None) -> None:
        """`address`: of the dashboard; None of a job of this cluster, which Ray tells of it."""
        if address is not None:
            _refuse_another(address)
        self._address = address
        self._client = self._ask(lambda: JobSubmissionClient(address))

    def nodes(self) -> list[dict[str, float]]:
        """What each node that is up has altogether, free or not: CPU, GPU, kinds of GPU."""
        nodes: list[Any] = self._ask(lambda: list_nodes(self._address, timeout=round(ANSWER_S)))
        return [dict(node.resources_total or {}) for node in nodes if node.state == "ALIVE"]

    def jobs(self) -> dict[str, RayJob]:
        """Submission id -> every job that the cluster remembers."""
        listed: list[Any] = self._ask(self._client.list_jobs)
        jobs = [_job(one) for one in listed if one.type == "SUBMISSION"]
        return {job.id: job for job in jobs}

    def submit(self, request: Request) -> None:
        self._ask(
            lambda: self._client.submit_job(
                entrypoint=request.entrypoint,
                submission_id=request.id,
                entrypoint_num_cpus=request.num_cpus or None,
                entrypoint_num_gpus=request.num_gpus or None,
                entrypoint_resources=dict(request.resources) or None,
                runtime_env={"env_vars": dict(request.variables)},
                metadata=dict(request.metadata),
            )
        )

    def stop(self, job_id: str) -> None:
        """Have Ray send SIGTERM to all of the job's processes."""
        self._ask(lambda: self._client.stop_job(job_id))

    def _ask(self, question: Callable[[], T]) -> T:
        answers: list[T] = []
        errors: list[Exception] = []

        def ask() -> None:
            try:
                answers.append(question())
            except Exception as error:
                errors.append(error)

        thread = threading.Thread(target=ask, daemon=True)  # Ray's client waits for ever
        thread.start()
        thread.join(ANSWER_S)
        if answers:
            return answers[0]
        said = _words(errors[0]) if errors else f"no answer in {ANSWER_S:g} s"
        raise LabError(f"Ray at {self._address or 'this node'}: {said}")


def _words(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return shown(lines[-1].strip()) if lines else type(error).__name__


def _refuse_another(address: str) -> None:
    for name in ADDRESSES:
        other = os.environ.get(name, "")
        if other and other.rstrip("/") != address.rstrip("/"):
            raise LabError(
                f"ray.address={address}, and {name}={other} in the shell: Ray would take the "
                "latter; unset it, or name the same"
            )


def _job(details: JobDetails) -> RayJob:
    said: Any = details
    return RayJob(
        said.submission_id,
        said.status.value,
        said.message or "",
        str(getattr(said.error_type, "value", said.error_type) or ""),
        said.driver_exit_code,
        urlsplit(said.driver_agent_http_address or "").hostname or "",
        said.metadata or {},
        (said.runtime_env or {}).get("env_vars") or {},
    )

"""`launcher=ray` on a real Ray of two nodes, the second of which is lost too."""

import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
from labrun.errors import LabError
from labrun.launch.supervisor import descendants
from two_raylets import TwoRaylets, cannot_start

from campaign.commands import MARK, MODULES, Command, processes_of, strike, strike_module
from campaign.kills import Kill
from campaign.record import state_of

VARIABLES = ("PYTHONPATH", MARK, "LABRUN_LEASES", "TMPDIR", "OMP_NUM_THREADS", "HF_HUB_OFFLINE")


class OnRay:
    """The targets: the `command` that submitted and waits; the `worker`; the `job`, the process
    that watches over it; Ray's `supervisor` of the job; the second `node`, if the job is there. The
    head's loss ends all runs."""

    again = ("--wait",)
    targets = ("command", "command", "worker", "worker", "job", "job", "supervisor", "node")
    turns = ("slow example",) * 4 + ("stairs",) + ("slow example",) * 4 + ("rlrt",)

    def __init__(self) -> None:
        if reason := cannot_start():
            raise SystemExit(f"launcher=ray: {reason}")
        self._nodes = TwoRaylets()
        self._node_lock = threading.Lock()
        try:
            self._nodes.start()
        except (OSError, RuntimeError) as error:
            self.stop()
            raise SystemExit(f"Ray cannot start here: {error}") from error
        passed = f"ray.pass_variables=[{','.join(VARIABLES)}]"
        where = ("launcher=ray", f"ray.address={self._nodes.address}", "ray.sees_home=true")
        self.words = (*where, passed, "--wait")

    def stop(self) -> None:
        self._nodes.stop()

    def strike(self, kill: Kill, *, command: Command) -> bool:
        if kill.target == "command":
            if command.ended():
                return False
            strike("command", kill.signal, command=command)
            return True
        if kill.target in MODULES:
            return strike_module(kill.target, kill.signal, folder=command.folder)
        if kill.target == "supervisor":
            return _kill_supervisor(command.folder)
        return self._lose_second(command.folder)

    def _lose_second(self, folder: Path) -> bool:
        with self._node_lock:
            own = {process.pid for process in _jobs(folder)}
            if not own & set(descendants(self._nodes.pid_of("second"))):
                return False
            self._nodes.kill_second()
            self._nodes.start_second()
            return True

    def may_end_with(self, kill: Kill, *, home: Path) -> bool:
        """A command may be killed before it has submitted, and Ctrl-C stops its jobs."""
        begun = state_of(home) == "running"
        return kill.target == "command" or (kill.target in MODULES and not begun)

    def has(self, home: Path) -> bool:
        from labrun.launch.ray.cluster import KEEPER, Cluster

        try:
            jobs = Cluster(self._nodes.address).jobs().values()
        except LabError:  # a busy cluster
            return True
        live = [job for job in jobs if not job.has_ended]
        kept = [job for job in live if job.metadata.get(KEEPER) == str(home)]
        return bool(kept) or any(job.run is not None and job.run.parent == home for job in live)


def _jobs(folder: Path) -> list[psutil.Process]:
    """The trial's processes that watch over a worker."""
    jobs = []
    for process in processes_of(folder):
        with suppress(psutil.Error):
            if process.cmdline()[1:3] == ["-m", MODULES["job"]]:
                jobs.append(process)
    return jobs


def _kill_supervisor(folder: Path) -> bool:
    """Kill what Ray started the job from."""
    for job in _jobs(folder):
        with suppress(psutil.Error):
            parent: Any = job.parent()
            if parent is not None and "JobSupervisor" in " ".join(parent.cmdline()):
                parent.kill()
                return True
    return False

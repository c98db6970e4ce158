"""`launcher=slurm` on a real SLURM of two nodes, whose daemons and nodes are killed too."""

import os
import subprocess
import tempfile
import threading
import time
from pathlib import Path

from two_nodes import TwoNodes, cannot_start

from campaign.commands import MODULES, Command, strike, strike_module
from campaign.kills import Kill
from campaign.record import run_of, state_of

DOWN_S = 60.0
"""Time that SLURM has to notice that a node is gone."""
TRIES, PAUSE_S = 5, 2.0
"""Of a question to SLURM whose controller is busy."""


class OnSlurm:
    """The targets: the `command` that submitted and waits; the `worker`; the `job`, the process
    that watches over it; the `daemon` of its node; its `node`, with all that runs there; `requeue`,
    as a preemption does."""

    words = ("launcher=slurm", "slurm.sees_home=true", "--wait")
    again = ("--wait",)
    targets = ("command", "command", "worker", "worker", "job", "job", "daemon", "node", "requeue")
    turns = ("slow example",) * 4 + ("stairs",) + ("slow example",) * 4 + ("rlrt",)

    def __init__(self) -> None:
        if reason := cannot_start():
            raise SystemExit(f"launcher=slurm: {reason}")
        self._folder = tempfile.TemporaryDirectory(prefix="labrun-slurm-")
        self._nodes = TwoNodes(Path(self._folder.name))
        self._node_lock = threading.Lock()
        try:
            self._nodes.start()
        except (OSError, RuntimeError) as error:
            self.stop()
            raise SystemExit(f"SLURM cannot start here: {error}") from error
        os.environ["SLURM_CONF"] = str(self._nodes.conf)

    def stop(self) -> None:
        self._nodes.stop()
        self._folder.cleanup()

    def strike(self, kill: Kill, *, command: Command) -> bool:
        if kill.target == "command":
            if command.ended():
                return False
            strike("command", kill.signal, command=command)
            return True
        jobs = _jobs(run_of(command.folder / "home"))
        if kill.target in MODULES:
            return strike_module(kill.target, kill.signal, folder=command.folder)
        if kill.target == "requeue":
            return any(_requeue(job) for job, _ in jobs)
        nodes = [node for _, node in jobs if node]
        for node in nodes[:1]:
            self._lose(node, kill)
        return bool(nodes)

    def _lose(self, node: str, kill: Kill) -> None:
        """End the node or its daemon, and start it again: at once, or when SLURM has noticed."""
        with self._node_lock:
            if kill.target == "node":
                self._nodes.kill_node(node)
            else:
                self._nodes.kill_daemon(node)
            give_up = time.monotonic() + DOWN_S
            while kill.at > 0.5 and not self._nodes.num_nodes("down"):
                if time.monotonic() > give_up:
                    break
                time.sleep(0.2)
            self._nodes.start_node(node)

    def may_end_with(self, kill: Kill, *, home: Path) -> bool:
        """A command may be killed before it has submitted, and Ctrl-C stops its jobs. A job whose
        process dies before it has begun is not put back, since it might never begin."""
        begun = state_of(home) == "running"
        return kill.target == "command" or (kill.target in MODULES and not begun)

    def has(self, home: Path) -> bool:
        return bool(_jobs(run_of(home)))


def _jobs(run: Path | None) -> list[tuple[str, str]]:
    """The id and the node of each job of the run that is in the queue; no node while it waits."""
    form = "--format=%i|%N|%k"
    rows = [line.split("|", 2) for line in _asked("squeue", "--noheader", form).splitlines()]
    return [(job, node) for job, node, comment in rows if run and comment == run.name]


def _asked(*words: str) -> str:
    for _ in range(TRIES):
        done = subprocess.run(words, capture_output=True, text=True)
        if done.returncode == 0:
            return done.stdout
        time.sleep(PAUSE_S)
    raise RuntimeError(f"{words[0]}: {done.stderr.strip()}")


def _requeue(job: str) -> bool:
    return subprocess.run(["scontrol", "requeue", job], capture_output=True).returncode == 0

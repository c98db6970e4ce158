"""A real Ray cluster of two nodes with two fake GPUs each, on this machine, in one folder."""

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

START_S = 180.0
SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_prestart_worker_first_driver": "0",
    "RAY_enable_metrics_collection": "0",
    "RAY_raylet_start_wait_time_s": "120",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "20000",
    "RAY_health_check_failure_threshold": "3",
}
FIRST = 'echo -15 > /proc/self/autogroup; exec "$@"'
"""Shell that lets a node start before other work, where it may: a raylet gives its agents 15 s."""
AGENTS = ("dashboard-agent-listen", "dashboard-agent-grpc", "metrics-export", "runtime-env-agent")
HERE = Path(sys.executable).parent
"""Folder of this environment's commands: a job's `python` is looked for on its node's PATH."""
SECOND_KIND = "T4"
"""Kind of the second node's GPUs; the first node's have none."""


def cannot_start() -> str:
    """Why there can be no such cluster on this machine; empty where there can."""
    missing = [name for name in ("ray", "aiohttp") if importlib.util.find_spec(name) is None]
    return f"not installed: {', '.join(missing)} (extra ray)" if missing else ""


class TwoRaylets:
    def __init__(self) -> None:
        # Paths of sockets must be short.
        self._folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))
        self._port, dashboard, self._client = free_ports(3)
        self.address = f"http://127.0.0.1:{dashboard}"
        self._dashboard_port = dashboard
        self._nodes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        """Raises RuntimeError where the nodes do not come up."""
        head = [
            "--head",
            f"--port={self._port}",
            "--include-dashboard=true",
            "--dashboard-host=127.0.0.1",
            f"--dashboard-port={self._dashboard_port}",
            f"--ray-client-server-port={self._client}",
            f"--temp-dir={self._folder}",
        ]
        self._start("head", head)
        self._await(self.num_nodes, 1)
        self.start_second()

    def start_second(self) -> None:
        kind = f'--resources={{"accelerator_type:{SECOND_KIND}": 1}}'
        address = f"--address=127.0.0.1:{self._port}"
        self._start("second", [address, kind])
        self._await(self.num_nodes, 2)

    def kill_second(self) -> None:
        """The second node is gone at once, with all that runs on it."""
        node = self._nodes["second"]
        _kill_tree(node.pid)
        node.wait()

    def pid_of(self, node: str) -> int:
        return self._nodes[node].pid

    def num_nodes(self) -> int:
        from labrun.errors import LabError
        from labrun.launch.ray.cluster import Cluster

        try:
            return len(Cluster(self.address).nodes())
        except LabError:
            return 0

    def stop(self) -> None:
        for node in reversed(self._nodes.values()):
            _kill_tree(node.pid)
            node.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _start(self, name: str, words: list[str]) -> None:
        common = [
            "--block",
            "--disable-usage-stats",
            "--num-cpus=2",
            "--num-gpus=2",
            "--object-store-memory=80000000",
        ]
        ports = zip(AGENTS, free_ports(len(AGENTS)), strict=True)
        common += [f"--{agent}-port={port}" for agent, port in ports]
        with open(self._folder / f"{name}.out", "ab") as out:
            self._nodes[name] = subprocess.Popen(
                ["sh", "-c", FIRST, "sh", str(HERE / "ray"), "start", *common, *words],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env=os.environ | SETTINGS | {"PATH": f"{HERE}{os.pathsep}{os.environ['PATH']}"},
                start_new_session=True,
            )

    def _await(self, count, least: int) -> None:
        give_up = time.monotonic() + START_S
        while count() < least:
            dead = [name for name, node in self._nodes.items() if node.poll() is not None]
            if dead or time.monotonic() > give_up:
                tail = "".join((self._folder / f"{name}.out").read_text()[-600:] for name in dead)
                raise RuntimeError(f"no {least} nodes within {START_S:g} s; ended: {dead} {tail}")
            time.sleep(0.5)
        for node in self._nodes.values():
            with suppress(OSError):
                Path(f"/proc/{node.pid}/autogroup").write_text("0")


def _kill_tree(pid: int) -> None:
    """Kill the process and all below it."""
    from labrun.launch.supervisor import descendants

    for one in [pid, *descendants(pid)]:
        with suppress(ProcessLookupError):
            os.kill(one, signal.SIGKILL)


def free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()

"""A real SLURM of two nodes with two fake GPUs each, on this machine, in one folder.

Its daemons run in the foreground of processes of this one, which ends them. It needs root and
Debian's packages slurm-wlm and munge.
"""

import os
import shutil
import signal
import socket
import stat
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from labrun.launch.supervisor import descendants

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol", "scancel")
START_S = 60.0
CONF = """\
ClusterName=lab
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket,cred_expire=5
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/%n.log
SlurmctldPort={controller}
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0
JobRequeue=1
KillWait=10
SlurmdTimeout=6
TCPTimeout=2
MessageTimeout=5
GresTypes=gpu
MpiDefault=none
ReturnToService=2
SlurmdParameters=config_overrides
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={n1} CPUs=8 RealMemory=4000 Gres=gpu:2
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={n2} CPUs=8 RealMemory=4000 Gres=gpu:2
PartitionName=main Nodes=n[1-2] Default=YES MaxTime=INFINITE State=UP
"""
GRES = """\
NodeName=n1 Name=gpu File={folder}/gpu[0-1] Flags=nvidia_gpu_env
NodeName=n2 Name=gpu File={folder}/gpu[2-3] Flags=nvidia_gpu_env
"""


def cannot_start() -> str:
    """Why there can be no such cluster on this machine; empty where there can."""
    if os.geteuid():
        return "SLURM's daemons need root here"
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    return f"not installed: {', '.join(missing)} (packages slurm-wlm, munge)" if missing else ""


class TwoNodes:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.conf = folder / "slurm.conf"
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        """Raises RuntimeError where the nodes do not come up."""
        self._write()
        self._start("munged", *self._munge())
        self._await(lambda: (self.folder / "munge" / "socket").exists(), "munged")
        self._start("slurmctld", "-D", "-i", "-f", str(self.conf))
        for node in ("n1", "n2"):
            self.start_node(node)
        self._await(lambda: self.num_nodes("idle") == 2, "two idle nodes")

    def start_node(self, name: str) -> None:
        self._start("slurmd", "-D", "-N", name, "-f", str(self.conf), key=name)

    def kill_node(self, name: str) -> None:
        """The node is gone at once, with all that runs on it."""
        for pid in [self._daemons[name].pid, *self._steps(name)]:
            _kill_tree(pid)
        self._daemons[name].wait()

    def kill_daemon(self, name: str) -> None:
        """The node's daemon is gone, what runs on the node goes on."""
        self._daemons[name].kill()
        self._daemons[name].wait()

    def kill_steps(self, name: str, *, of: Path) -> None:
        """What the node runs of the job with this word in its commands is gone."""
        for pid in self._steps(name):
            if any(str(of) in _command(one) for one in descendants(pid)):
                _kill_tree(pid)

    def num_nodes(self, state: str) -> int:
        listed = self._asked("sinfo", "--noheader", f"--states={state}", "--format=%D")
        return sum(map(int, listed.split()))

    def _asked(self, *words: str) -> str:
        environment = os.environ | {"SLURM_CONF": str(self.conf)}
        return subprocess.run(words, env=environment, capture_output=True, text=True).stdout

    def stop(self) -> None:
        for name in ("n1", "n2"):
            for pid in self._steps(name):
                _kill_tree(pid)
        for daemon in reversed(self._daemons.values()):
            daemon.kill()
            daemon.wait()

    def _start(self, program: str, *words: str, key: str = "") -> None:
        with open(self.folder / f"{key or program}.out", "ab") as out:
            self._daemons[key or program] = subprocess.Popen(
                [program, *words],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env=os.environ | {"SLURM_CONF": str(self.conf)},
                start_new_session=True,
            )

    def _await(self, is_there, what: str) -> None:
        give_up = time.monotonic() + START_S
        while not is_there():
            dead = [name for name, one in self._daemons.items() if one.poll() is not None]
            if dead or time.monotonic() > give_up:
                tail = "".join((self.folder / f"{name}.out").read_text()[-300:] for name in dead)
                raise RuntimeError(f"no {what} within {START_S:g} s; ended: {dead} {tail}")
            time.sleep(0.1)

    def _steps(self, node: str) -> list[int]:
        """The pids of the node's step daemons, which live on without its own: they have its log
        open."""
        log, found = str(self.folder / f"{node}.log"), []
        for name in filter(str.isdigit, os.listdir("/proc")):
            with suppress(OSError):
                words = Path(f"/proc/{name}/cmdline").read_bytes()
                files = [os.readlink(link) for link in Path(f"/proc/{name}/fd").iterdir()]
                if words.startswith(b"slurmstepd") and log in files:
                    found.append(int(name))
        return found

    def _munge(self) -> list[str]:
        folder = self.folder / "munge"
        folder.mkdir(mode=0o755)
        key = folder / "key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        files = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log"}
        files["seed-file"] = "seed"
        words = [f"--{option}={folder / name}" for option, name in files.items()]
        return ["--foreground", "--force", *words]

    def _write(self) -> None:
        for name in ("state", "spool-n1", "spool-n2"):
            (self.folder / name).mkdir()
        for number in range(4):  # a plain file is refused as a GPU
            os.mknod(self.folder / f"gpu{number}", stat.S_IFCHR | 0o600, os.makedev(1, 3))
        controller, n1, n2 = _free_ports(3)
        host = socket.gethostname().partition(".")[0]
        places = {"folder": self.folder, "host": host, "controller": controller}
        self.conf.write_text(CONF.format(**places, n1=n1, n2=n2))
        (self.folder / "gres.conf").write_text(GRES.format(folder=self.folder))


def _command(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    return ""


def _kill_tree(pid: int) -> None:
    """Kill the process and all below it."""
    for one in [pid, *descendants(pid)]:
        with suppress(ProcessLookupError):
            os.kill(one, signal.SIGKILL)


def _free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()

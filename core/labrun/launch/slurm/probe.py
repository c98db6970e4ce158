"""Whether the nodes of the cluster see LABRUN_HOME."""

import shlex
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path

from labrun.errors import LabError
from labrun.experiment import RunConfig
from labrun.launch.slurm import commands
from labrun.launch.slurm.script import Batch, beaten, text
from labrun.system import regular_files
from labrun.system.network import is_on_network
from labrun.system.paths import component

WAIT_S = 120.0
POLL_S = 0.5
SEEN = ".seen-by-slurm"


def refuse_unseen(home: Path, config: RunConfig) -> None:
    """Raise LabError where the nodes do not see the folder, or none is free to say so.

    A folder on a network file system counts as seen. Another is looked for by a job, once.
    """
    if config.slurm.sees_home or is_on_network(home) or _is_known(home):
        return
    home.mkdir(parents=True, exist_ok=True)
    (home / ".slurm").mkdir(exist_ok=True)
    mark = home / ".slurm" / f"probe-{component(socket.gethostname())}-{time.time_ns()}"
    mark.touch()
    try:
        _probe(home, mark, config)
    finally:
        mark.unlink(missing_ok=True)
    (home / SEEN).write_text(_cluster())


def _probe(home: Path, mark: Path, config: RunConfig) -> None:
    answer = mark.with_name(f"{mark.name}.seen")
    seen = f"test -e {shlex.quote(str(mark))} && touch {shlex.quote(str(answer))}"
    batch = Batch(config, [home / "probe"])
    script = text(batch, worker=f"sh -c {shlex.quote(seen)}")
    job = commands.submit(script, without=beaten(batch, is_probe=True))
    give_up = time.monotonic() + WAIT_S
    word = commands.look([job])[job]
    try:
        while word.state != "gone" and time.monotonic() < give_up and not answer.exists():
            time.sleep(POLL_S)
            word = commands.look([job])[job]
        if answer.exists():
            return
    finally:
        answer.unlink(missing_ok=True)
        with suppress(LabError):
            commands.call("scancel", job)
    if word.state == "gone":
        raise LabError(
            f"the nodes do not see {home} of {socket.gethostname()} (job {job}: {word.reason}); "
            "set LABRUN_HOME to a folder that all of them share"
        )
    raise LabError(
        f"no node was free within {WAIT_S:g} s to say whether it sees {home} (job {job}: "
        f"{word.reason or word.state}); slurm.sees_home=true if you know that all do"
    )


def _is_known(home: Path) -> bool:
    """Whether a probe of this cluster has found the folder before."""
    try:
        return regular_files.content(home / SEEN) == _cluster().encode()
    except OSError:
        return False


def _cluster() -> str:
    """What tells clusters apart: SLURM's own lines about itself."""
    lines = commands.call("scontrol", "show", "config").splitlines()
    named = ("ClusterName", "SlurmctldHost", "SlurmctldPort")
    kept = [" ".join(line.split()) for line in lines if line.startswith(named)]
    return "\n".join([*kept, sys.platform, ""])

"""Whether the nodes of a Ray cluster see LABRUN_HOME, and have labrun."""

import shlex
import socket
import time
from contextlib import suppress
from pathlib import Path

from labrun.errors import LabError
from labrun.experiment import RunConfig
from labrun.launch.ray import request
from labrun.launch.ray.cluster import Cluster, RayJob, Request
from labrun.system.network import is_on_network
from labrun.system.paths import component

WAIT_S = 120.0
POLL_S = 0.5
FOLDER = ".ray"
SEEN = "seen-by"
MOST_NODES = 16
"""Nodes that are asked at once; of a larger cluster the first ones."""
NODE = "node:"
"""What Ray calls the resource that one node alone has."""


def refuse_unseen(home: Path, config: RunConfig, cluster: Cluster) -> None:
    """Raise LabError where a node does not see the folder, or does not say so.

    A folder on a network file system counts as seen. Another is looked for by a job on each node,
    once for each of the cluster's nodes.
    """
    if config.ray.sees_home or is_on_network(home):
        return
    nodes = sorted({name for node in cluster.nodes() for name in node if _is_address(name)})
    seen = home / FOLDER / SEEN
    new = [name for name in nodes if name not in _lines(seen)][:MOST_NODES]
    if not new:
        return
    (home / FOLDER).mkdir(parents=True, exist_ok=True)
    mark = home / FOLDER / f"probe-{component(socket.gethostname())}-{time.time_ns()}"
    mark.touch()
    try:
        _probe(mark, new, config, cluster)
    finally:
        for path in mark.parent.glob(f"{mark.name}*"):
            path.unlink(missing_ok=True)
    seen.write_text("\n".join([*_lines(seen), *new, ""]))


def _probe(mark: Path, nodes: list[str], config: RunConfig, cluster: Cluster) -> None:
    jobs = {f"labrun-{mark.name}-{number}": node for number, node in enumerate(nodes)}
    for job, node in jobs.items():
        asked = Request(
            job,
            _question(mark, mark.with_name(f"{mark.name}.{job}"), config),
            resources={node: request.SOME},
            variables=request.shell_variables(config.ray),
        )
        cluster.submit(asked)
    give_up = time.monotonic() + WAIT_S
    waiting = dict(jobs)
    while waiting and time.monotonic() < give_up:
        known = cluster.jobs()
        waiting = {job: node for job, node in waiting.items() if not _is_seen(known[job], mark)}
        for job in waiting:
            if known[job].has_ended:
                raise LabError(_unseen(known[job], waiting[job], mark))
        time.sleep(POLL_S)
    for job in waiting:
        with suppress(LabError):
            cluster.stop(job)
    if waiting:
        raise LabError(
            f"{next(iter(waiting.values()))} of the Ray cluster did not say within {WAIT_S:g} s "
            f"whether it sees {mark.parent.parent}; ray.sees_home=true if you know that all do"
        )


def _question(mark: Path, answer: Path, config: RunConfig) -> str:
    """A shell's line that ends well and leaves `answer` where the node has all that a job needs."""
    unseen = shlex.quote(f"it does not see {mark.parent.parent}")
    sees = f"test -e {shlex.quote(str(mark))} || {{ echo {unseen}; exit 1; }}"
    has_labrun = f"{config.ray.python} -c 'import labrun'"
    return f"{sees}; {has_labrun} && touch {shlex.quote(str(answer))}"


def _is_seen(job: RayJob, mark: Path) -> bool:
    return mark.with_name(f"{mark.name}.{job.id}").exists()


def _unseen(job: RayJob, node: str, mark: Path) -> str:
    home = mark.parent.parent
    return (
        f"{node} of the Ray cluster cannot run from {home} of {socket.gethostname()}: "
        f"{job.ending}; set LABRUN_HOME to a folder that all nodes share, and ray.python to a "
        "Python that has labrun there"
    )


def _is_address(name: str) -> bool:
    return name.startswith(NODE) and not name.startswith(f"{NODE}__")


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().split("\n")[:-1]
    except OSError:
        return []

"""Which machine writes a sqlite store that lies on a network file system.

Several machines that write one sqlite file there destroy it: its locks and its shared memory are of
one machine. So the first machine that writes it leaves its name beside it, and the others leave the
store alone: it is a mirror, and that machine's next `lab` command writes what it lacks.
"""

import os
import socket
from pathlib import Path

from labrun.errors import LabError
from labrun.system.network import is_on_network

FILE = ".mlflow-host"


def elsewhere(path: Path) -> str:
    """The other machine that writes the store; empty where this one may."""
    if not is_on_network(path.parent):
        return ""
    me = socket.gethostname()
    try:
        handle = os.open(path.parent / FILE, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    except FileExistsError:
        owner = (path.parent / FILE).read_text().strip()
        return "" if owner in ("", me) else owner
    with open(handle, "w") as out:
        out.write(me)
    return ""


def refuse_elsewhere(path: Path) -> None:
    """Raise LabError where another machine writes the store."""
    if owner := elsewhere(path):
        raise LabError(
            f"{path} lies on a network file system and {owner} writes it; `lab runs` there writes "
            "what it lacks, `lab reindex` makes this machine its writer, or set "
            "tracking.uri=http://..."
        )


def take_over(path: Path) -> None:
    """Make this machine the store's writer."""
    if is_on_network(path.parent):
        (path.parent / FILE).write_text(socket.gethostname())

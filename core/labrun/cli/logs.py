"""What `lab logs` prints: the output of a run's processes, on all its machines."""

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from labrun.errors import LabError
from labrun.launch import following
from labrun.runs import submission
from labrun.runs.run_dir import RunDir
from labrun.system import regular_files
from labrun.system.json_files import reason

POLL_S = 0.3
BLOCK_BYTES = 1 << 16


def show(run: RunDir, *, follow: bool) -> None:
    """Print what there is, and with `follow` what comes, until the run has ended."""
    offsets: dict[Path, int] = {}
    _print_new(run, offsets)
    while follow:
        following.words([run])
        is_last = run.status().state not in following.OPEN
        _print_new(run, offsets)
        if is_last:
            return
        time.sleep(POLL_S)


def _print_new(run: RunDir, offsets: dict[Path, int]) -> None:
    """Print what came since. Raises LabError behind it where a file cannot be read."""
    faults = []
    for path in _files(run):
        try:
            for block in _blocks(path, offsets.get(path, 0)):
                offsets[path] = offsets.get(path, 0) + len(block)
                sys.stdout.write(block.decode(errors="replace"))
        except LabError as error:
            faults.append(error)
    sys.stdout.flush()
    if faults:
        raise faults[0]


def _blocks(path: Path, place: int) -> Iterator[bytes]:
    """The file's bytes from this place on. Raises LabError where it cannot be read."""
    try:
        with regular_files.opened(path) as lines:
            lines.seek(place)
            while block := lines.read(BLOCK_BYTES):
                yield block
    except OSError as error:
        raise LabError(f"{path} cannot be read: {reason(error)}; put it right first") from error


def _files(run: RunDir) -> list[Path]:
    """The run's own output, that of its further machines, and that of its scheduler's script."""
    job = submission.read(run.path)
    scheduler = [run.path.parent / ".slurm" / f"{job.id}.log"] if job else []
    own = [*sorted(run.path.glob("stdio*.log")), *scheduler]
    return [path for path in own if os.path.lexists(path)]

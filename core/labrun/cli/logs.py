"""What `lab logs` prints: the output of a run's processes, on all its machines."""

import sys
import time
from pathlib import Path

from labrun.launch import following
from labrun.runs import submission
from labrun.runs.run_dir import RunDir

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
    for path in _files(run):
        with open(path, "rb") as lines:
            lines.seek(offsets.get(path, 0))
            while block := lines.read(BLOCK_BYTES):
                sys.stdout.write(block.decode(errors="replace"))
            offsets[path] = lines.tell()
    sys.stdout.flush()


def _files(run: RunDir) -> list[Path]:
    """The run's own output, that of its further machines, and that of its scheduler's script."""
    job = submission.read(run.path)
    scheduler = [run.path.parent / ".slurm" / f"{job.id}.log"] if job else []
    own = [*sorted(run.path.glob("stdio*.log")), *scheduler]
    return [path for path in own if path.is_file()]

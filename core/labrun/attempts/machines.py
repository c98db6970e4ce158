"""The machines of one job, each with a part of its ranks, and what they tell each other.

They share the run directory alone. The first machine's worker announces each start of the ranks on
a board there; the others start theirs. Every rank leaves its ending on the board, and the first
machine's worker makes the run's ending of them.
"""

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from labrun.errors import LabError
from labrun.runs.run_dir import RunDir, write_json

JOB = "LABRUN_JOB"
"""Variable that names the life of a job: launcher, id and try."""
RANK = "LABRUN_NODE_RANK"
MEET = "LABRUN_MEET"
"""Variable with the host and the port at which the ranks meet."""
NODE_RANKS = {"slurm": "SLURM_NODEID"}
"""Where a launcher's own tasks say which machine they are on."""
BOARD = ".machines"
START, ENDED = "start.json", "ended"


@dataclass(frozen=True)
class Start:
    """One start of all ranks: which attempt, and the checkpoints that it passes over."""

    number: int
    attempt: int
    passed_over: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Machines:
    """How many there are, and which of them this is."""

    count: int = 1
    rank: int = 0
    host: str = "127.0.0.1"
    port: int = 0
    """Where the ranks meet; 0: any free port of this machine."""
    board: Path = Path()

    def announce(self, attempt: int, passed_over: Mapping[str, str]) -> Start:
        """Tell the other machines to start their ranks."""
        before = self.start()
        start = Start(before.number + 1 if before else 0, attempt, dict(passed_over))
        self.endings(start).mkdir(parents=True, exist_ok=True)
        write_json(self.board / START, asdict(start))
        return start

    def start(self) -> Start | None:
        """The last start that was announced."""
        try:
            return Start(**json.loads((self.board / START).read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def endings(self, start: Start) -> Path:
        """The folder in which the ranks of this start leave their endings."""
        return self.board / f"endings-{start.number}"

    def end(self) -> None:
        """Tell the other machines that the job is over."""
        self.board.mkdir(parents=True, exist_ok=True)
        (self.board / ENDED).touch()

    def has_ended(self) -> bool:
        return (self.board / ENDED).exists()


def here(run: RunDir) -> Machines:
    """The machines of this process's job; one where the run needs no more."""
    try:
        count = run.experiment().run.resources.num_nodes
    except LabError:  # the attempt itself reports what is wrong
        return Machines()
    if count == 1:
        return Machines()
    job, meet = os.environ.get(JOB, ""), os.environ.get(MEET, "")
    host, _, port = meet.rpartition(":")
    if not job or not port.isdecimal():
        raise LabError(
            f"resources.num_nodes={count}: only a launcher that gives several nodes can start this "
            f"run; {JOB} or {MEET} is not set"
        )
    board = run.path / f"{BOARD}-{job.replace(' ', '-').replace('/', '-')}"
    return Machines(count, node_rank(), host, int(port), board)


def node_rank() -> int:
    """Which of its job's machines this is; 0 where nothing says so."""
    own = NODE_RANKS.get(os.environ.get(JOB, "").partition(" ")[0], "")
    return int(os.environ.get(RANK) or os.environ.get(own) or 0)


def clear(run: RunDir, *, but: Path) -> None:
    """Remove the boards of earlier jobs."""
    for board in run.path.glob(f"{BOARD}-*"):
        if board != but:
            shutil.rmtree(board, ignore_errors=True)

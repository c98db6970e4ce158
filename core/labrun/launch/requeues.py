"""Whether a job of a scheduler is put back into its queue once more.

A job that comes back again and again without a further checkpoint would run for ever.
`requeues.json` in the run directory counts such lives in a row.
"""

from labrun.errors import LabError
from labrun.experiment import RunConfig
from labrun.runs import checkpoints
from labrun.runs.run_dir import RunDir, write_json
from labrun.system.json_files import read_object

FILE = "requeues.json"
AGAIN = ".again"
"""File that asks the scheduler's script to put the job back."""


def begin(run: RunDir, *, life: int, anew: bool = False) -> None:
    """Count this life of the job, once; the first one begins `anew`."""
    step = _newest(run)
    before, times, counted = _read(run)
    if life == 0 or anew:
        times = 0
    elif counted != life:
        times = times + 1 if before == step else 0
    write_json(run.path / FILE, {"step": step, "times": times, "life": life})
    (run.path / AGAIN).unlink(missing_ok=True)


def fault(run: RunDir, config: RunConfig) -> str:
    """Why the job must not be put back again; empty where it may."""
    step, times, _ = _read(run)
    if _newest(run) != step or times < config.max_requeues:
        return ""
    limit = config.resources.time_limit
    raised = f"raise resources.time_limit (now {limit:g} min)" if limit else "ask for more time"
    where = "its beginning" if step is None else f"step {step}"
    return (
        f"{times + 1} jobs in a row saved no checkpoint after {where}; {raised} or "
        "resources.save_ahead_s, or do more between two checkpoints' steps"
    )


def ask(run: RunDir) -> None:
    """Ask the scheduler's script to put the job back."""
    (run.path / AGAIN).touch()


def _newest(run: RunDir) -> int | None:
    try:
        folders = checkpoints.folders(run.checkpoints)
    except LabError:
        return None
    return checkpoints.step_of(folders[-1]) if folders else None


def _read(run: RunDir) -> tuple[int | None, int, int]:
    """The newest checkpoint when a life was last counted, lives in a row, and which one it was."""
    try:
        said = read_object(run.path / FILE)
        return said["step"], int(said["times"]), int(said.get("life", -1))
    except (OSError, LabError, KeyError, TypeError, ValueError):
        return None, 0, -1

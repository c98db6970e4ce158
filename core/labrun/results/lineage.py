"""Which runs go on from others, in words."""

from collections.abc import Iterable

from labrun.experiment import Parent
from labrun.runs.run_dir import RunDir


def lines(runs: Iterable[RunDir]) -> dict[str, str]:
    """Run id -> the run that it goes on from, of those that do."""
    parents = {run.id: run.experiment().parent for run in runs}
    return {run_id: line(parent) for run_id, parent in parents.items() if parent}


def line(parent: Parent) -> str:
    """From which run and step another one goes on, and why it may not be a run from the start."""
    first = f"goes on from {parent.run} at step {parent.step}"
    if parent.follow_max_steps is None:
        return f"{first}; its trainer does not say whether its steps depend on max_steps"
    if parent.follow_max_steps:
        keys = ", ".join(parent.follow_max_steps)
        first += f"; not a run from the start: {keys} follows the parent's max_steps until there"
    if parent.changed:
        first += f"; changed there: {', '.join(parent.changed)}"
    return first

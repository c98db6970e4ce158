"""Scores that are means over tasks, such as `seen`."""

from collections.abc import Sequence

from labrun.results.arms import Arm

Tasks = tuple[str, ...]


def unlike_means(compared: Sequence[Arm]) -> dict[str, list[Tasks]]:
    """The means that are over other tasks in some runs than in others, and over which.

    Two such means are numbers of different things: no table and no test puts them side by side.
    """
    found: dict[str, dict[Tasks, None]] = {}
    for arm in compared:
        for run in arm.runs:
            for (task, _), steps in run.scores().items():
                found.setdefault(task, {})[tuple(steps[max(steps)].over)] = None
    return {task: list(over) for task, over in found.items() if len(over) > 1}


def said_of_unlike(compared: Sequence[Arm]) -> list[str]:
    """A sentence for each of them."""
    return [
        f"left out: {task} is a mean over other tasks in some runs than in others: "
        + "; ".join(", ".join(over) or f"{task} itself" for over in ways)
        for task, ways in unlike_means(compared).items()
    ]

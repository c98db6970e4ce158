"""What a baseline cannot be trained on."""

from collections.abc import Sequence

from lab_marl.episodes.layouts import Layout
from labrun.errors import LabError


def check_pairs(layouts: Sequence[Layout], *, method: str) -> None:
    """Raises LabError for a task with one agent: no other agent shares its task-specific skill."""
    for layout in layouts:
        if layout.num_agents < 2:
            raise LabError(
                f"{method} contrasts two agents of a team, task {layout.task!r} has "
                f"{layout.num_agents}; take tasks with 2 agents or more"
            )


def check_contrast(layouts: Sequence[Layout], *, method: str) -> None:
    """Raises LabError for one training task: with no other task to be told apart from, the contrast
    is 0 at every step."""
    if len(layouts) == 1:
        raise LabError(
            f"{method} contrasts training tasks with each other, got one, {layouts[0].task!r}; "
            "name two or more in dataset.train_tasks"
        )

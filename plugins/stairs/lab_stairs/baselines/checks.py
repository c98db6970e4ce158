"""What a baseline cannot be trained on."""

from collections.abc import Sequence

from labrun.errors import LabError

from lab_stairs.checks import check_ids
from lab_stairs.layouts import Layout, check_one_network


def check_tasks(layouts: Sequence[Layout], *, method: str, id_bits: int) -> None:
    """Raises LabError where one network of the method cannot serve all the tasks."""
    for layout in layouts:
        if layout.continuous:
            raise LabError(
                f"{method} chooses among discrete actions, task {layout.task!r} is continuous; "
                "use method=td3_bc"
            )
        check_ids(layout, id_bits)
    check_one_network(layouts)


def check_pairs(layouts: Sequence[Layout], *, method: str) -> None:
    """Raises LabError for a task with one agent: no other agent shares its task-specific skill."""
    for layout in layouts:
        if layout.num_agents < 2:
            raise LabError(
                f"{method} contrasts two agents of a team, task {layout.task!r} has "
                f"{layout.num_agents}; take tasks with 2 agents or more"
            )

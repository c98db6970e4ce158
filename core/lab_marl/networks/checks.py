"""What a network that scores discrete actions cannot be trained on."""

from collections.abc import Sequence

from labrun.errors import LabError

from lab_marl.episodes.layouts import Layout, check_one_network
from lab_marl.training.entity_features import check_ids


def check_tasks(layouts: Sequence[Layout], *, method: str, id_bits: int) -> None:
    """Raises LabError where one network of the method cannot serve all the tasks."""
    for layout in layouts:
        if layout.continuous:
            raise LabError(
                f"{method} chooses among discrete actions, task {layout.task!r} is continuous; "
                "take a method for continuous actions, such as method=td3_bc"
            )
        check_ids(layout, id_bits)
    check_one_network(layouts)

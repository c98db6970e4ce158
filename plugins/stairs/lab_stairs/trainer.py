"""The trainer component of STAIRS-Former."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from labrun import Dataset, LabError, TrainResult

from lab_stairs.checks import check_ids
from lab_stairs.config import StairsConfig
from lab_stairs.layouts import Layout

if TYPE_CHECKING:
    import torch
    from labrun.context import RunContext

    from lab_stairs.offline_data import OfflineData
    from lab_stairs.stairs import StairsLearner


class StairsTrainer:
    """TD and behaviour cloning on the offline data, in one process."""

    def __init__(self, config: StairsConfig) -> None:
        self.config = config

    def preflight(self, dataset: Dataset) -> dict[str, object]:
        from lab_stairs import offline_run

        layouts, facts = offline_run.preflight(self.config, dataset)
        check_tasks(layouts, id_bits=self.config.network.id_bits)
        return facts

    def fit(self, ctx: "RunContext", data: "OfflineData") -> TrainResult:
        from lab_stairs import offline_run

        return offline_run.train(ctx, data, self.config, self._make)

    def _make(self, layouts: Sequence[Layout], device: "torch.device") -> "StairsLearner":
        from lab_stairs.stairs import StairsLearner

        return StairsLearner(layouts[0], self.config, device=device)


def check_tasks(layouts: Sequence[Layout], *, id_bits: int) -> None:
    """Raises LabError for a task that a discrete method with this code cannot serve."""
    for layout in layouts:
        check_ids(layout, id_bits)
        if layout.continuous:
            raise LabError(f"task {layout.task!r} has continuous actions; use method=td3_bc")

"""The trainer component of TD3+BC."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from labrun import Dataset, LabError, TrainResult

from lab_stairs.checks import check_ids
from lab_stairs.layouts import Layout
from lab_stairs.td3bc_config import TD3BCConfig

if TYPE_CHECKING:
    import torch
    from labrun.context import RunContext

    from lab_stairs.offline_data import OfflineData
    from lab_stairs.td3bc import TD3BCLearner


class TD3BCTrainer:
    """TD3+BC on the offline data of continuous tasks, in one process."""

    def __init__(self, config: TD3BCConfig) -> None:
        self.config = config

    def preflight(self, dataset: Dataset) -> dict[str, object]:
        from lab_stairs import offline_run

        layouts, facts = offline_run.preflight(self.config, dataset)
        check_tasks(layouts, id_bits=self.config.network.id_bits)
        return facts

    def fit(self, ctx: "RunContext", data: "OfflineData") -> TrainResult:
        from lab_stairs import offline_run

        return offline_run.train(ctx, data, self.config, self._make)

    def _make(self, layouts: Sequence[Layout], device: "torch.device") -> "TD3BCLearner":
        from lab_stairs.td3bc import TD3BCLearner

        return TD3BCLearner(layouts[0], self.config, device=device)


def check_tasks(layouts: Sequence[Layout], *, id_bits: int) -> None:
    """Raises LabError for a task that an actor of joints cannot serve."""
    for layout in layouts:
        if not layout.continuous:
            raise LabError(
                f"method=td3_bc is for continuous tasks (halfcheetah-2x3, ...), task "
                f"{layout.task!r} has discrete actions; use dataset=mamujoco or method=stairs"
            )
        check_ids(layout, id_bits)

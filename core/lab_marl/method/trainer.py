"""The trainer of a method that is one loss."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from labrun import Plan, Setup
from labrun.plugins.building import function
from labrun.plugins.discovery import resolve

from lab_marl.episodes.layouts import Layout
from lab_marl.method.config import LossSettings
from lab_marl.training.trainer import OfflineMethod, OfflineTrainer

if TYPE_CHECKING:
    import torch

    from lab_marl.training.learner import Learner

ARGUMENTS = ("transitions", "config")


def check(
    config: LossSettings, train: Sequence[Layout], tasks: Sequence[Layout]
) -> Mapping[str, object]:
    """What computes the network. Raises LabError for a task or a kernel that cannot serve."""
    from lab_marl.networks.checks import check_tasks
    from lab_marl.networks.unroll_path import kernel_fact

    check_tasks(tasks, method="this method", id_bits=config.transformer.id_bits)
    return kernel_fact(config.transformer, train, config)


class LossTrainer(OfflineTrainer):
    """Trains BC-t's network on the offline data by the loss of a plugin."""

    def __init__(self, config: LossSettings, *, loss: str) -> None:
        super().__init__(config, OfflineMethod("lab_marl.method.learner:LossLearner", check))
        self.loss = loss

    def plan(self, setup: Setup) -> Plan:
        function(self.loss, *ARGUMENTS)
        return super().plan(setup)

    def learner(self, layouts: Sequence[Layout], device: "torch.device") -> "Learner":
        loss = function(self.loss, *ARGUMENTS)
        return resolve(self.method.learner)(layouts, self.config, device=device, loss=loss)

"""The trainer components of the baselines."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from labrun import Dataset, LabError, TrainResult

from lab_stairs.baselines.checks import check_pairs, check_tasks
from lab_stairs.baselines.config import (
    BCConfig,
    HiSSDConfig,
    ODISConfig,
    UPDeTConfig,
    discovery_updates,
)
from lab_stairs.config import MixerConfig
from lab_stairs.dataset import OfflineDataset
from lab_stairs.layouts import Layout

if TYPE_CHECKING:
    import torch
    from labrun.context import RunContext

    from lab_stairs.learner import Learner
    from lab_stairs.offline_data import OfflineData

AnyConfig = BCConfig | UPDeTConfig | ODISConfig | HiSSDConfig


def _preflight(config: AnyConfig, dataset: Dataset, *, method: str) -> dict[str, object]:
    from lab_stairs import offline_run

    layouts, facts = offline_run.preflight(config, dataset)
    check_tasks(layouts, method=method, id_bits=config.transformer.id_bits)
    return facts


class BCTrainer:
    """Behaviour cloning: BC-t and BC-r."""

    def __init__(self, config: BCConfig) -> None:
        self.config = config

    def preflight(self, dataset: Dataset) -> dict[str, object]:
        if self.config.condition == "none" and self.config.target_return is not None:
            raise LabError(
                f"trainer.target_return={self.config.target_return} asks for a return, but "
                "trainer.condition=none takes none; set trainer.condition=return or leave it out"
            )
        return _preflight(self.config, dataset, method="behaviour cloning")

    def fit(self, ctx: "RunContext", data: "OfflineData") -> TrainResult:
        from lab_stairs import offline_run

        return offline_run.train(ctx, data, self.config, self._make)

    def _make(self, layouts: Sequence[Layout], device: "torch.device") -> "Learner":
        from lab_stairs.baselines.bc import BCLearner

        return BCLearner(layouts, self.config, device=device)


class UPDeTTrainer:
    """Conservative Q-learning: UPDeT-l and UPDeT-m."""

    def __init__(self, config: UPDeTConfig) -> None:
        self.config = config

    def preflight(self, dataset: Dataset) -> dict[str, object]:
        if self.config.mixing == "sum" and self.config.mixer != MixerConfig():
            raise LabError(
                "trainer.mixer is set, but trainer.mixing=sum has no mixer; set "
                "trainer.mixing=attention or leave it out"
            )
        return _preflight(self.config, dataset, method="UPDeT")

    def fit(self, ctx: "RunContext", data: "OfflineData") -> TrainResult:
        from lab_stairs import offline_run

        return offline_run.train(ctx, data, self.config, self._make)

    def _make(self, layouts: Sequence[Layout], device: "torch.device") -> "Learner":
        from lab_stairs.baselines.updet import UPDeTLearner

        return UPDeTLearner(layouts, self.config, device=device)


class ODISTrainer:
    """Skill discovery, then conservative Q-learning over skills."""

    def __init__(self, config: ODISConfig) -> None:
        self.config = config

    def preflight(self, dataset: Dataset) -> dict[str, object]:
        facts = _preflight(self.config, dataset, method="ODIS")
        assert isinstance(dataset, OfflineDataset)
        first = discovery_updates(self.config, len(dataset.tasks.train))
        left = self.config.max_steps - first
        if self.config.max_steps and left <= 0:
            raise LabError(
                f"trainer.pretrain_share={self.config.pretrain_share} leaves none of "
                f"trainer.max_steps={self.config.max_steps} for the policy; skill discovery takes "
                f"{first}; set a smaller share or more steps"
            )
        return facts | {"discovery_updates": first, "policy_updates": left}

    def fit(self, ctx: "RunContext", data: "OfflineData") -> TrainResult:
        from lab_stairs import offline_run

        return offline_run.train(ctx, data, self.config, self._make)

    def _make(self, layouts: Sequence[Layout], device: "torch.device") -> "Learner":
        from lab_stairs.baselines.odis import ODISLearner

        return ODISLearner(layouts, self.config, device=device)


class HiSSDTrainer:
    """Common and task-specific skills."""

    def __init__(self, config: HiSSDConfig) -> None:
        self.config = config

    def preflight(self, dataset: Dataset) -> dict[str, object]:
        facts = _preflight(self.config, dataset, method="HiSSD")
        assert isinstance(dataset, OfflineDataset)
        layouts = dataset.layouts()
        check_pairs([layouts[task] for task in dataset.tasks.train], method="HiSSD")
        return facts

    def fit(self, ctx: "RunContext", data: "OfflineData") -> TrainResult:
        from lab_stairs import offline_run

        return offline_run.train(ctx, data, self.config, self._make)

    def _make(self, layouts: Sequence[Layout], device: "torch.device") -> "Learner":
        from lab_stairs.baselines.hissd import HiSSDLearner

        return HiSSDLearner(layouts, self.config, device=device)

"""Behaviour cloning as a method of the toolkit's trainer."""

from collections.abc import Mapping, Sequence

from labrun import LabError

from lab_marl.cloning.config import BCConfig
from lab_marl.episodes.layouts import Layout
from lab_marl.networks.checks import check_tasks
from lab_marl.networks.unroll_path import kernel_fact
from lab_marl.training.trainer import OfflineMethod


def check(
    config: BCConfig, train: Sequence[Layout], tasks: Sequence[Layout]
) -> Mapping[str, object]:
    """What computes the network. Raises LabError for a return that nothing takes, or a task or a
    kernel that cannot serve."""
    if config.condition == "none" and config.target_return is not None:
        raise LabError(
            f"trainer.target_return={config.target_return} asks for a return, but "
            "trainer.condition=none takes none; set trainer.condition=return or leave it out"
        )
    check_tasks(tasks, method="behaviour cloning", id_bits=config.transformer.id_bits)
    return kernel_fact(config.transformer, train, config)


def unused(config: BCConfig) -> Mapping[str, str]:
    """Cloning has no values: returns are not discounted."""
    del config
    return {"gamma": "behaviour cloning"}


bc = OfflineMethod("lab_marl.cloning.learner:BCLearner", check, unused=unused)

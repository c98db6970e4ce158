"""The learner of a method that is one loss."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from labrun.errors import LabError
from torch import Tensor

from lab_marl.cloning.objectives import returns_to_go
from lab_marl.environments.interface import Policy
from lab_marl.episodes.batches import Batch
from lab_marl.episodes.layouts import Layout
from lab_marl.method.config import LossSettings
from lab_marl.method.transitions import Transitions
from lab_marl.networks.action_network import ActionNetwork
from lab_marl.networks.greedy import GreedyPolicy
from lab_marl.networks.rows import cloned_rows
from lab_marl.networks.unroll_path import Unrolling, UnrollPath
from lab_marl.training.optimization import Optimization

Loss = Callable[[Transitions, Any], Tensor]
"""(transitions, config) -> the loss, one number."""


class LossLearner(Unrolling):
    """Trains BC-t's network by a loss; its policy takes the available action of highest score."""

    def __init__(
        self,
        layouts: Sequence[Layout],
        config: LossSettings,
        *,
        device: torch.device,
        loss: Loss,
    ) -> None:
        self.config, self.device, self.loss = config, device, loss
        self.network = ActionNetwork(layouts[0], config.transformer).to(device)
        self.unroll = UnrollPath(
            [self.network], config.transformer, layouts, max_steps=config.max_steps, device=device
        )
        self.optimization = Optimization(
            list(self.network.parameters()),
            learning_rate=config.learning_rate,
            max_grad_norm=config.max_grad_norm,
        )

    def update(self, batch: Batch) -> dict[str, float]:
        task = batch.layout.task
        loss = self.loss(self.transitions(batch), self.config)
        _check(loss)
        self.optimization.gather(loss, task=task)
        return {"loss": loss.item(), "grad_norm": self.optimization.step(task=task)}

    def transitions(self, batch: Batch) -> Transitions:
        """The batch's transitions, with the network's scores."""
        rows = cloned_rows(batch, "filled")
        return Transitions(
            scores=self.network(batch, rows),
            actions=rows.take(batch.actions),
            avail_actions=rows.take(batch.avail_actions),
            obs=rows.take(batch.obs),
            state=rows.take(batch.state),
            reward=rows.take(batch.reward),
            returns_to_go=rows.take(returns_to_go(batch.reward)),
            terminated=rows.take(batch.terminated),
        )

    def policy(self) -> Policy:
        id_bits = self.config.transformer.id_bits
        return GreedyPolicy(self.network, id_bits=id_bits, device=self.device)

    def state_dict(self) -> dict[str, Any]:
        return {
            "network": self.network.state_dict(),
            "optimization": self.optimization.state_dict(),
            "kernel": self.unroll.choice.path,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.optimization.load_state_dict(state["optimization"])


def _check(loss: Any) -> None:
    """Raises LabError for what is no single number with a gradient."""
    if not isinstance(loss, Tensor):
        got = f"a {type(loss).__name__}"
    elif loss.dim():
        got = f"a tensor of shape {tuple(loss.shape)}"
    elif not loss.requires_grad:
        got = "a number that does not depend on the scores"
    else:
        return
    raise LabError(f"the method's loss is {got}; return one number, such as a mean over the rows")

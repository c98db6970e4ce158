"""BC-t and BC-r as learners (LAMDA-RL/ODIS, bc_learner.py, bc_agent.py, bcr_agent.py)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lab_marl.cloning.config import BCConfig
from lab_marl.cloning.objectives import cross_entropy_cloning, returns_to_go
from lab_marl.environments.interface import Policy
from lab_marl.episodes.batches import Batch
from lab_marl.episodes.layouts import Layout
from lab_marl.networks.action_network import ActionNetwork
from lab_marl.networks.checks import check_tasks
from lab_marl.networks.greedy import GreedyPolicy
from lab_marl.networks.rows import Rows, cloned_rows, step_mask
from lab_marl.networks.unroll_path import Unrolling, UnrollPath
from lab_marl.training.entity_features import EntityFeatures
from lab_marl.training.optimization import Optimization, numbers


class BCLearner(Unrolling):
    """Cross-entropy against the dataset's actions, with a history token."""

    def __init__(
        self, layouts: Sequence[Layout], config: BCConfig, *, device: torch.device
    ) -> None:
        id_bits = config.transformer.id_bits
        check_tasks(layouts, method="behaviour cloning", id_bits=id_bits)
        self.config, self.device = config, device
        self.conditioned = config.condition == "return"
        self.network = ActionNetwork(
            layouts[0], config.transformer, extra=int(self.conditioned)
        ).to(device)
        self.unroll = UnrollPath(
            [self.network], config.transformer, layouts, max_steps=config.max_steps, device=device
        )
        self.optimization = Optimization(
            list(self.network.parameters()),
            learning_rate=config.learning_rate,
            max_grad_norm=config.max_grad_norm,
        )
        self.best_return = -math.inf

    def update(self, batch: Batch) -> dict[str, float]:
        task = batch.layout.task
        loss = self.loss(batch)
        self.optimization.gather(loss, task=task)
        norm = self.optimization.step(task=task)
        self.best_return = max(self.best_return, batch.reward.sum(0).max().item())
        return numbers({"loss": loss, "bc_loss": loss}) | {"grad_norm": norm}

    def loss(self, batch: Batch) -> Tensor:
        rows = cloned_rows(batch, self.config.bc_mask)
        logits = self.network(batch, rows, self._returns(batch, rows))
        steps = step_mask(batch, self.config.bc_mask).sum()
        weight = torch.ones_like(logits[:, 0, 0])
        return cross_entropy_cloning(
            logits, rows.take(batch.actions), weight, steps=steps.clamp(min=1)
        )

    def _returns(self, batch: Batch, rows: Rows) -> Tensor | None:
        """(rows, n, 1) the return to go at each row, the same for every agent; None for BC-t."""
        if not self.conditioned:
            return None
        values = rows.take(returns_to_go(batch.reward))
        return values[:, None, None].expand(-1, batch.layout.num_agents, -1)

    @property
    def target_return(self) -> float:
        """What a BC-r policy asks for."""
        given = self.config.target_return
        if given is None:
            return 0.0 if math.isinf(self.best_return) else self.best_return
        return given

    def policy(self) -> Policy:
        network = (
            AskedReturn(self.network, self.target_return) if self.conditioned else self.network
        )
        return GreedyPolicy(network, id_bits=self.config.transformer.id_bits, device=self.device)

    def state_dict(self) -> dict[str, Any]:
        return {
            "network": self.network.state_dict(),
            "optimization": self.optimization.state_dict(),
            "kernel": self.unroll.choice.path,
            "best_return": self.best_return,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.optimization.load_state_dict(state["optimization"])
        self.best_return = state["best_return"]


@dataclass(frozen=True)
class AskedReturn:
    """BC-r's network with the same return to go at every step."""

    network: ActionNetwork
    asked: float

    def begin(self, agents: int) -> Tensor:
        return self.network.begin(agents)

    def step(
        self, layout: Layout, features: EntityFeatures, memory: Tensor
    ) -> tuple[Tensor, Tensor]:
        extra = features.own.new_full((*features.own.shape[:2], 1), self.asked)
        return self.network.step(layout, features, memory, extra)

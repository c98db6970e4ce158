"""UPDeT-l and UPDeT-m as learners (LAMDA-RL/ODIS, updet_learner.py)."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from lab_marl.environments.interface import Policy
from lab_marl.episodes.batches import Batch
from lab_marl.episodes.layouts import Layout
from lab_marl.networks.action_network import ActionNetwork
from lab_marl.networks.checks import check_tasks
from lab_marl.networks.greedy import GreedyPolicy
from lab_marl.networks.rows import filled_rows, total_value
from lab_marl.networks.unroll_path import Unrolling, UnrollPath
from lab_marl.training.optimization import Optimization, numbers
from lab_marl.training.targets import TargetClock
from torch import Tensor, nn

from lab_stairs.baselines.config import UPDeTConfig
from lab_stairs.baselines.objectives import conservative_gap, greedy_values
from lab_stairs.mixer import AttentionMixer
from lab_stairs.objectives import double_q_values, td_loss, td_targets


class SumMixer(nn.Module):
    """Q_tot = sum_i Q_i (VDN), which makes UPDeT-l's value linear in the agents' values."""

    def forward(
        self, layout: Layout, q: Float[Tensor, "rows n"], state: Float[Tensor, "rows s"]
    ) -> Float[Tensor, " rows"]:
        del layout, state  # the sum needs neither
        return q.sum(1)


class QNetworks(nn.Module):
    """What the target copies: the agents' network and the mixer."""

    def __init__(self, layout: Layout, config: UPDeTConfig) -> None:
        super().__init__()
        mixed = config.mixing == "attention"
        self.agents = ActionNetwork(layout, config.transformer)
        self.mixer = AttentionMixer(layout, config.mixer) if mixed else SumMixer()


@dataclass(frozen=True)
class Losses:
    """The terms of one batch; `total` is what is minimised."""

    total: Tensor
    td: Tensor
    conservative: Tensor


class UPDeTLearner(Unrolling):
    """Double Q-learning on Q_tot with a conservative term; one network for all tasks."""

    def __init__(
        self, layouts: Sequence[Layout], config: UPDeTConfig, *, device: torch.device
    ) -> None:
        check_tasks(layouts, method="UPDeT", id_bits=config.transformer.id_bits)
        self.config, self.device = config, device
        self.online = QNetworks(layouts[0], config).to(device)
        self.target = copy.deepcopy(self.online).requires_grad_(False)
        self.unroll = UnrollPath(
            [self.online, self.target],
            config.transformer,
            layouts,
            max_steps=config.max_steps,
            device=device,
        )
        self.optimization = Optimization(
            list(self.online.parameters()),
            learning_rate=config.learning_rate,
            max_grad_norm=config.max_grad_norm,
        )
        self.clock = TargetClock(config.target_update_every)

    def update(self, batch: Batch) -> dict[str, float]:
        task = batch.layout.task
        losses = self.losses(batch)
        self.optimization.gather(losses.total, task=task)
        norm = self.optimization.step(task=task)
        if self.clock.tick():
            self.target.load_state_dict(self.online.state_dict())
        terms = {
            "loss": losses.total,
            "td_loss": losses.td,
            "conservative_loss": losses.conservative,
        }
        return numbers(terms) | {"grad_norm": norm}

    def losses(self, batch: Batch) -> Losses:
        rows = filled_rows(batch)
        available, actions = rows.take(batch.avail_actions), rows.take(batch.actions)
        q = self.online.agents(batch, rows)
        taken = q.gather(-1, actions[..., None]).squeeze(-1)
        total = total_value(self.online.mixer, batch, rows, taken)
        greedy = total_value(self.online.mixer, batch, rows, greedy_values(q, available))
        with torch.no_grad():
            values = double_q_values(q, self.target.agents(batch, rows), available)
            following = total_value(self.target.mixer, batch, rows, values)
        targets = td_targets(batch.reward, batch.terminated, following, gamma=self.config.gamma)
        td = td_loss(total, targets, batch.transitions)
        conservative = conservative_gap(greedy, total, batch.transitions)
        return Losses(td + self.config.conservative_weight * conservative, td, conservative)

    def policy(self) -> Policy:
        return GreedyPolicy(
            self.online.agents, id_bits=self.config.transformer.id_bits, device=self.device
        )

    def state_dict(self) -> dict[str, Any]:
        return {
            "online": self.online.state_dict(),
            "target": self.target.state_dict(),
            "optimization": self.optimization.state_dict(),
            "clock": self.clock.state_dict(),
            "kernel": self.unroll.choice.path,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.online.load_state_dict(state["online"])
        self.target.load_state_dict(state["target"])
        self.optimization.load_state_dict(state["optimization"])
        self.clock.load_state_dict(state["clock"])

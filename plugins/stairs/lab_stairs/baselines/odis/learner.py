"""ODIS as a learner, in two stages (LAMDA-RL/ODIS, odis_learner.py, mto.py)."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from lab_marl.cloning.objectives import action_cross_entropy, cross_entropy_cloning
from lab_marl.environments.interface import Policy
from lab_marl.episodes.batches import Batch
from lab_marl.episodes.layouts import Layout
from lab_marl.networks.checks import check_tasks
from lab_marl.networks.embedding import batch_features
from lab_marl.networks.greedy import GreedyPolicy
from lab_marl.networks.rows import (
    Rows,
    cloned_rows,
    filled_rows,
    step_mask,
    stepped_rows,
    total_value,
)
from lab_marl.networks.unroll_path import Unrolling, UnrollPath
from lab_marl.training.entity_features import EntityFeatures
from lab_marl.training.optimization import Optimization, numbers
from lab_marl.training.targets import TargetClock
from torch import Tensor, nn

from lab_stairs.baselines.config import ODISConfig, discovery_updates
from lab_stairs.baselines.objectives import conservative_gap, greedy_values, stepwise_mean
from lab_stairs.baselines.odis.network import ODISNetwork
from lab_stairs.baselines.odis.objectives import relaxed_log_sample, skill_labels, skill_prior_loss
from lab_stairs.mixer import AttentionMixer
from lab_stairs.objectives import double_q_values, td_loss, td_targets

Terms = dict[str, Tensor]


class SkillValues(nn.Module):
    """What the target copies: the networks behind Q_tot over skills."""

    def __init__(self, network: ODISNetwork, mixer: AttentionMixer) -> None:
        super().__init__()
        self.encoder = network.observation_encoder
        self.head = network.value_head
        self.mixer = mixer


class ODISLearner(Unrolling):
    """Skill discovery for the first updates, then Q-learning over skills.

    The gradient gathers over one batch of every training task before each optimizer step.
    """

    def __init__(
        self, layouts: Sequence[Layout], config: ODISConfig, *, device: torch.device
    ) -> None:
        check_tasks(layouts, method="ODIS", id_bits=config.transformer.id_bits)
        self.config, self.device = config, device
        self.num_tasks = len(layouts)
        self.network = ODISNetwork(layouts[0], config).to(device)
        self.mixer = AttentionMixer(layouts[0], config.mixer).to(device)
        self.online = SkillValues(self.network, self.mixer)
        self.target = copy.deepcopy(self.online).requires_grad_(False)
        self.unroll = UnrollPath(
            [self.network, self.target],
            config.transformer,
            layouts,
            max_steps=config.max_steps,
            device=device,
        )
        self.clock = TargetClock(config.target_update_every)
        self.updates = 0
        self._begin_stage()

    @property
    def discovering(self) -> bool:
        """Whether the next update belongs to skill discovery."""
        return self.updates < discovery_updates(self.config, self.num_tasks)

    def _begin_stage(self) -> None:
        """The parts that this stage trains, and a new optimizer."""
        for part in self.network.discovery():
            part.requires_grad_(self.discovering)
        both = [*self.network.parameters(), *self.mixer.parameters()]
        self.optimization = Optimization(
            [parameter for parameter in both if parameter.requires_grad],
            learning_rate=self.config.learning_rate,
            max_grad_norm=self.config.max_grad_norm,
        )

    def update(self, batch: Batch) -> dict[str, float]:
        task, discovering = batch.layout.task, self.discovering
        terms = self.discovery_losses(batch) if discovering else self.policy_losses(batch)
        self.optimization.gather(terms["loss"], task=task)
        self.updates += 1
        metrics = numbers(terms)
        if self.updates % self.num_tasks == 0:
            metrics["grad_norm"] = self.optimization.step(task=task)
        if not discovering and self.clock.tick():
            self.target.load_state_dict(self.online.state_dict())
        if discovering != self.discovering:
            self._begin_stage()
        return metrics

    def discovery_losses(self, batch: Batch) -> Terms:
        """The decoder's cross-entropy under sampled skills, and the prior over skills."""
        rows = stepped_rows(batch, self.config.bc_mask)
        actions = rows.take(batch.actions)
        log_skills = relaxed_log_sample(self._skill_logits(batch, rows))
        logits = self.network.decoder(
            batch.layout, self._features(batch, rows), log_skills.exp(), rows.counts
        )
        counted = step_mask(batch, self.config.bc_mask).sum(1)[: len(rows.counts)]
        decoded = stepwise_mean(action_cross_entropy(logits, actions).mean(1), rows.steps, counted)
        prior = skill_prior_loss(log_skills)
        total = decoded + self.config.prior_weight * prior
        return {"loss": total, "decoder_loss": decoded, "prior_loss": prior}

    def policy_losses(self, batch: Batch) -> Terms:
        """TD and conservative terms over skills; skills readable from observations."""
        published = self.config.bc_mask == "published"
        rows = cloned_rows(batch, "published") if published else filled_rows(batch)
        codes = self.network.observation_encoder(self._features(batch, rows), rows.counts)
        with torch.no_grad():
            labels = skill_labels(self._skill_logits(batch, rows))
        consistency = self._consistency(batch, rows, self.network.skill_head(codes), labels)
        packed = filled_rows(batch)
        inside = packed.inside[rows.inside]
        q = self.network.value_head(codes)[inside]
        td, conservative = self._value_losses(batch, packed, q, labels[inside])
        total = (
            td
            + self.config.conservative_weight * conservative
            + self.config.consistency_weight * consistency
        )
        return {
            "loss": total,
            "td_loss": td,
            "conservative_loss": conservative,
            "consistency_loss": consistency,
        }

    def _consistency(self, batch: Batch, rows: Rows, logits: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy of the skills read from observations against the state encoder's."""
        published, mask = self.config.bc_mask == "published", step_mask(batch, self.config.bc_mask)
        weight = torch.ones_like(logits[:, 0, 0]) if published else rows.take(mask)
        return cross_entropy_cloning(logits, labels, weight, steps=mask.sum().clamp(min=1))

    def _value_losses(
        self, batch: Batch, rows: Rows, q: Tensor, skills: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The TD and the conservative term of Q over skills; every skill is always available."""
        available = torch.ones_like(q, dtype=torch.bool)
        taken = q.gather(-1, skills[..., None]).squeeze(-1)
        total = total_value(self.mixer, batch, rows, taken)
        greedy = total_value(self.mixer, batch, rows, greedy_values(q, available))
        with torch.no_grad():
            codes = self.target.encoder(self._features(batch, rows), rows.counts)
            values = double_q_values(q, self.target.head(codes), available)
            following = total_value(self.target.mixer, batch, rows, values)
        targets = td_targets(batch.reward, batch.terminated, following, gamma=self.config.gamma)
        td = td_loss(total, targets, batch.transitions)
        return td, conservative_gap(greedy, total, batch.transitions)

    def _skill_logits(self, batch: Batch, rows: Rows) -> Tensor:
        """(rows, n, K) of the state encoder for the dataset's joint actions."""
        state, actions = rows.take(batch.state), rows.take(batch.actions)
        return self.network.skill_head(self.network.state_encoder(batch.layout, state, actions))

    def _features(self, batch: Batch, rows: Rows) -> EntityFeatures:
        return batch_features(batch, rows, id_bits=self.config.transformer.id_bits)

    def policy(self) -> Policy:
        return GreedyPolicy(
            self.network, id_bits=self.config.transformer.id_bits, device=self.device
        )

    def state_dict(self) -> dict[str, Any]:
        return {
            "network": self.network.state_dict(),
            "mixer": self.mixer.state_dict(),
            "target": self.target.state_dict(),
            "updates": self.updates,
            "optimization": self.optimization.state_dict(),
            "clock": self.clock.state_dict(),
            "kernel": self.unroll.choice.path,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.mixer.load_state_dict(state["mixer"])
        self.target.load_state_dict(state["target"])
        self.updates = state["updates"]
        self._begin_stage()
        self.optimization.load_state_dict(state["optimization"])
        self.clock.load_state_dict(state["clock"])

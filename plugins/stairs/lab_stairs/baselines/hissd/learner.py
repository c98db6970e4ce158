"""HiSSD as a learner (mooricAnna/HiSSD, hissd_learner.py)."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from lab_marl.cloning.objectives import action_cross_entropy
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
from torch.nn import functional

from lab_stairs.baselines.acted_entities import acted_entities
from lab_stairs.baselines.checks import check_pairs
from lab_stairs.baselines.config import HiSSDConfig
from lab_stairs.baselines.hissd.network import TOKENS_OF_EACH, HiSSDNetwork
from lab_stairs.baselines.hissd.objectives import (
    expectile_value_loss,
    planner_weight,
    prediction_error,
    skill_contrast,
)
from lab_stairs.baselines.objectives import stepwise_mean
from lab_stairs.mixer import AttentionMixer
from lab_stairs.objectives import td_targets


class Copied(nn.Module):
    """What the target copies; no other network's target is ever read."""

    def __init__(self, network: HiSSDNetwork, mixer: AttentionMixer) -> None:
        super().__init__()
        self.task_encoder = network.task_encoder
        self.value = network.value
        self.mixer = mixer


class HiSSDLearner(Unrolling):
    """Cloning with a contrastive term, a value, and a planner, one after the other.

    The planner's gradient enters the optimizer together with the next task's cloning step, or at
    the end of a round over the tasks, as in the published code.
    """

    def __init__(
        self, layouts: Sequence[Layout], config: HiSSDConfig, *, device: torch.device
    ) -> None:
        check_tasks(layouts, method="HiSSD", id_bits=config.transformer.id_bits)
        check_pairs(layouts, method="HiSSD")
        self.config, self.device = config, device
        self.num_tasks = len(layouts)
        self.network = HiSSDNetwork(layouts[0], config).to(device)
        self.mixer = AttentionMixer(layouts[0], config.mixer).to(device)
        self.online = Copied(self.network, self.mixer)
        self.target = copy.deepcopy(self.online).requires_grad_(False)
        self.unroll = UnrollPath(
            [self.network, self.target],
            config.transformer,
            layouts,
            max_steps=config.max_steps,
            device=device,
            of_each=TOKENS_OF_EACH,
        )
        self.optimization = Optimization(
            [*self.network.parameters(), *self.mixer.parameters()],
            learning_rate=config.learning_rate,
            max_grad_norm=config.max_grad_norm,
            weight_decay=config.weight_decay,
        )
        self.clock = TargetClock(config.target_update_every)
        self.updates = 0
        self.negatives: dict[str, Tensor] = {}
        """By task, the target's contrast codes (m, d) of its last batch, first-seen task first."""

    def update(self, batch: Batch) -> dict[str, float]:
        task = batch.layout.task
        cloning, contrast = self.cloning_losses(batch)
        self.optimization.gather(cloning + self.config.contrast_weight * contrast, task=task)
        norm = self.optimization.step(task=task)
        value = self.value_loss(batch)
        self.optimization.gather(value, task=task)
        self.optimization.step(task=task)
        weight, prediction = self.planner_losses(batch)
        self.optimization.gather(weight * prediction, task=task)
        self.updates += 1
        if self.updates % self.num_tasks == 0:
            self.optimization.step(task=task)
        if self.clock.tick():
            self.target.load_state_dict(self.online.state_dict())
        total = cloning + self.config.contrast_weight * contrast + value + weight * prediction
        terms = {
            "loss": total,
            "bc_loss": cloning,
            "contrast_loss": contrast,
            "value_loss": value,
            "prediction_loss": prediction,
            "planner_weight": weight,
        }
        return numbers(terms) | {"grad_norm": norm}

    def cloning_losses(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Cross-entropy of the controller's actions, and the contrastive term."""
        rows = stepped_rows(batch, self.config.bc_mask)
        features, layout = self._features(batch, rows), batch.layout
        skills = self.network.planner(features, rows.counts)
        logits = self.network.controller(
            layout,
            features,
            self.network.for_action(layout, skills),
            self.network.task_encoder.skills(features),
            rows.counts,
        )
        loss = action_cross_entropy(logits, rows.take(batch.actions)).mean(1)
        counted = step_mask(batch, self.config.bc_mask).sum(1)[: len(rows.counts)]
        return stepwise_mean(loss, rows.steps, counted), self._contrast(batch, rows, features)

    def _contrast(self, batch: Batch, rows: Rows, features: EntityFeatures) -> Tensor:
        """Two agents of this task at one step against one agent of another task.

        0 while no other task has been seen. Keeps this batch's codes for the other tasks.
        """
        others = [codes for task, codes in self.negatives.items() if task != batch.layout.task]
        self.negatives[batch.layout.task] = self._negative_codes(batch, features)
        if not others:
            return torch.zeros((), device=self.device)
        step = int(torch.randint(len(rows.counts), ()))
        first, second = torch.randperm(batch.layout.num_agents)[:2].tolist()
        encoder = self.network.task_encoder
        codes = encoder.contrasts(_select(features, rows.steps == step))
        return skill_contrast(codes[:, first], codes[:, second], others[-1], encoder.bilinear)

    @torch.no_grad()
    def _negative_codes(self, batch: Batch, features: EntityFeatures) -> Tensor:
        """(rows, d): the target's codes of one agent at every row."""
        agent = int(torch.randint(batch.layout.num_agents, ()))
        one = EntityFeatures(
            features.own[:, agent, None],
            features.enemies[:, agent, None],
            features.allies[:, agent, None],
        )
        return self.target.task_encoder.contrasts(one)[:, 0]

    def value_loss(self, batch: Batch) -> Tensor:
        rows = filled_rows(batch)
        features = self._features(batch, rows)
        total = total_value(self.mixer, batch, rows, self.network.value(features, rows.counts))
        with torch.no_grad():
            values = self.target.value(features, rows.counts)
            following = total_value(self.target.mixer, batch, rows, values)
        targets = td_targets(batch.reward, batch.terminated, following, gamma=self.config.gamma)
        return expectile_value_loss(
            total, targets, batch.transitions, expectile=self.config.expectile
        )

    def planner_losses(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The planner's weight, without gradient, and its error about the next state."""
        published = self.config.bc_mask == "published"
        rows = cloned_rows(batch, "published") if published else filled_rows(batch)
        features = self._features(batch, rows)
        skills = self.network.planner(features, rows.counts)
        return self._weight(batch, rows, features, skills), self._prediction(batch, rows, skills)

    def _prediction(self, batch: Batch, rows: Rows, skills: Tensor) -> Tensor:
        """Mean over time steps of the mean error about the state one step later."""
        inner = stepped_rows(batch, self.config.bc_mask)
        predicted = self.network.predictor(
            batch.layout, skills[inner.inside[rows.inside]], inner.counts
        )
        actions = functional.one_hot(inner.take(batch.actions), batch.layout.num_actions)
        state = inner.take(batch.state.roll(-1, 0))
        actual = acted_entities(batch.layout, state, actions.float())
        counted = torch.tensor(inner.counts, dtype=state.dtype, device=state.device)
        return stepwise_mean(prediction_error(predicted, actual), inner.steps, counted)

    @torch.no_grad()
    def _weight(self, batch: Batch, rows: Rows, features: EntityFeatures, skills: Tensor) -> Tensor:
        filled = filled_rows(batch)
        inside = filled.inside[rows.inside]
        value = self.network.value(_select(features, inside), filled.counts)
        tokens = self.network.for_value(batch.layout, skills[inside])
        planned = self.target.value.of_tokens(tokens, filled.counts)
        return planner_weight(
            total_value(self.mixer, batch, filled, value),
            total_value(self.target.mixer, batch, filled, planned),
            batch.reward,
            batch.transitions,
            gamma=self.config.gamma,
            scale=self.config.advantage_scale,
            largest=self.config.max_weight,
        )

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
            "optimization": self.optimization.state_dict(),
            "clock": self.clock.state_dict(),
            "updates": self.updates,
            "negatives": dict(self.negatives),
            "kernel": self.unroll.choice.path,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.mixer.load_state_dict(state["mixer"])
        self.target.load_state_dict(state["target"])
        self.optimization.load_state_dict(state["optimization"])
        self.clock.load_state_dict(state["clock"])
        self.updates = state["updates"]
        self.negatives = {task: codes.to(self.device) for task, codes in state["negatives"].items()}


def _select(features: EntityFeatures, rows: Tensor) -> EntityFeatures:
    """The features of some rows (bool over rows)."""
    return EntityFeatures(features.own[rows], features.enemies[rows], features.allies[rows])

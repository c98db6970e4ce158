"""STAIRS-Former as a learner: TD on the mixed value and behaviour cloning on the agents' values."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from lab_marl.cloning.objectives import cross_entropy_cloning
from lab_marl.environments.interface import Policy
from lab_marl.episodes.batches import Batch
from lab_marl.episodes.layouts import Layout
from lab_marl.training.entity_features import EntityFeatures, entity_features, last_actions
from lab_marl.training.targets import TargetClock
from labrun.errors import DivergedError
from torch import Tensor

from lab_stairs.blocks import stacked
from lab_stairs.config import StairsConfig
from lab_stairs.mixer import AttentionMixer
from lab_stairs.network import StairsNetwork, draw_kept_tokens, q_values, unroll
from lab_stairs.objectives import double_q_values, q_value_cloning, td_loss, td_targets
from lab_stairs.policy import NetworkPolicy

CLONING = {"cross_entropy": cross_entropy_cloning, "q_value": q_value_cloning}
DTYPES = {"float32": None, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Losses:
    """The terms of one batch; `total` is what is minimised."""

    total: Tensor
    td: Tensor
    cloning: Tensor
    q_taken: Tensor
    """Mean value of the dataset's actions over agents and transitions."""
    target: Tensor
    """Mean TD target over transitions."""


class StairsLearner:
    """Networks, targets and optimizer of one run, for tasks of one signature."""

    def __init__(
        self, layouts: Sequence[Layout], config: StairsConfig, *, device: torch.device
    ) -> None:
        layout = layouts[0]
        self.config = config
        self.device = device
        self.network = StairsNetwork(layout, config.network, outputs=layout.num_non_attack)
        self.mixer = AttentionMixer(layout, config.mixer)
        self.network.to(device)
        self.mixer.to(device)
        self.target_network = copy.deepcopy(self.network).requires_grad_(False)
        self.target_mixer = copy.deepcopy(self.mixer).requires_grad_(False)
        self.parameters = [*self.network.parameters(), *self.mixer.parameters()]
        self.optimizer = torch.optim.Adam(self.parameters, lr=config.learning_rate, fused=True)
        self.clock = TargetClock(config.target_update_every)

    def update(self, batch: Batch) -> dict[str, float]:
        losses = self.losses(batch, self.draw_kept(batch))
        self.optimizer.zero_grad(set_to_none=True)
        losses.total.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, self.config.max_grad_norm)
        if not torch.isfinite(norm + losses.total.detach()):
            raise DivergedError(
                f"task {batch.layout.task}: loss {losses.total.item()}, gradient norm {norm.item()}"
            )
        self.optimizer.step()
        if self.clock.tick():
            self.target_network.load_state_dict(self.network.state_dict())
            self.target_mixer.load_state_dict(self.mixer.state_dict())
        return {
            "loss": losses.total.item(),
            "td_loss": losses.td.item(),
            "bc_loss": losses.cloning.item(),
            "grad_norm": norm.item(),
            "q_taken": losses.q_taken.item(),
            "target": losses.target.item(),
        }

    def draw_kept(self, batch: Batch) -> Tensor | None:
        """Which tokens stay in this update, for each row of the pass that carries the gradient."""
        if self.config.token_dropout == 0:
            return None
        actions = batch.actions[self._trained_rows(batch)]
        return draw_kept_tokens(batch.layout, actions, probability=self.config.token_dropout)

    def losses(self, batch: Batch, keep: Tensor | None) -> Losses:
        """The losses of a batch under a given token dropout (None: none)."""
        layout, packed = batch.layout, batch.packed()
        rows = self._trained_rows(batch)
        features = entity_features(
            layout,
            batch.obs[rows],
            last_actions(batch)[rows],
            id_bits=self.config.network.id_bits,
        )
        counts = tuple(int(n) for n in rows.sum(1))
        weights = stacked([self.network])
        q = q_values(
            weights, layout, unroll(weights, self.config.network, layout, features, counts, keep)
        )[0]
        inside = packed[rows]
        taken = q[inside].gather(-1, batch.actions[packed][..., None]).squeeze(-1)
        total = _grid(self.mixer(layout, taken, batch.state[packed]), packed)
        targets = td_targets(
            batch.reward,
            batch.terminated,
            self._next_values(batch, _select(features, inside)),
            gamma=self.config.gamma,
        )
        td = td_loss(total, targets, batch.transitions)
        cloning = self._cloning(batch, q, rows)
        weighted = self.config.td_weight * td + self.config.bc_weight * cloning
        begins = batch.transitions[packed]
        return Losses(
            total=weighted,
            td=td.detach(),
            cloning=cloning.detach(),
            q_taken=(taken.detach().mean(1) * begins).sum() / begins.sum().clamp(min=1),
            target=(targets * batch.transitions[:-1]).sum() / begins.sum().clamp(min=1),
        )

    def _trained_rows(self, batch: Batch) -> Tensor:
        """(T, B) bool: the frames of the pass with gradient; padding too where BC sums over it."""
        packed = batch.packed()
        return torch.ones_like(packed) if self.config.bc_mask == "published" else packed

    def _cloning(self, batch: Batch, q: Tensor, rows: Tensor) -> Tensor:
        if self.config.bc_mask == "published":
            weight, steps = torch.ones_like(q[:, 0, 0]), batch.valid.sum()
        else:
            weight, steps = batch.transitions[rows], batch.transitions.sum()
        form = CLONING[self.config.bc_form]
        return form(q, batch.actions[rows], weight, steps=steps.clamp(min=1))

    @torch.no_grad()
    def _next_values(self, batch: Batch, features: EntityFeatures) -> Tensor:
        """(T, B): Q'_tot of the action that the online network prefers, at every frame."""
        layout, packed = batch.layout, batch.packed()
        dtype = DTYPES[self.config.no_grad_dtype]
        weights = stacked([self.network, self.target_network], dtype=dtype)
        read = unroll(weights, self.config.network, layout, features, batch.counts)
        online, target = q_values(weights, layout, read).float()
        values = double_q_values(online, target, batch.avail_actions[packed])
        return _grid(self.target_mixer(layout, values, batch.state[packed]), packed)

    def policy(self) -> Policy:
        return NetworkPolicy(self.network, self.config.network)

    def state_dict(self) -> dict[str, Any]:
        return {
            "network": self.network.state_dict(),
            "mixer": self.mixer.state_dict(),
            "target_network": self.target_network.state_dict(),
            "target_mixer": self.target_mixer.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "clock": self.clock.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.mixer.load_state_dict(state["mixer"])
        self.target_network.load_state_dict(state["target_network"])
        self.target_mixer.load_state_dict(state["target_mixer"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.clock.load_state_dict(state["clock"])


def _grid(values: Tensor, packed: Tensor) -> Tensor:
    """(T, B) from one value for each packed frame; 0 at padding."""
    return values.new_zeros(packed.shape).index_put((packed,), values)


def _select(features: EntityFeatures, rows: Tensor) -> EntityFeatures:
    """The features of some rows (bool over rows)."""
    if bool(rows.all()):
        return features
    return EntityFeatures(features.own[rows], features.enemies[rows], features.allies[rows])

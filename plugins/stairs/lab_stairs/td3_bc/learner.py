"""TD3+BC as a learner: actor and critics of STAIRS-Former's shape for continuous actions.

Equations are those of Fujimoto and Gu 2021 (arXiv 2106.06860) and of TD3 (arXiv 1802.09477).
STAIRS-Former's MaMuJoCo results use a method of this kind, but neither its network nor its settings
are public: there is nothing published to check this network against. What differs from TD3+BC:

1. A team has one actor and one critic network for all agents, with histories; a critic's value is
   an attention mixer's, of the agents' values.
2. The critics' histories run over the dataset's actions; the actor's and the target actor's actions
   are valued as the next one after them.
3. The actor's loss is worked out with the critics as they are before the step in which both move.
4. Observations are not normalised by the dataset's mean and standard deviation.
5. Gradients are clipped, and the actor's tokens are dropped in training (STAIRS-Former's settings).
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from lab_marl.episodes.batches import Batch
from lab_marl.episodes.layouts import Layout
from lab_marl.training.entity_features import EntityFeatures, entity_features
from lab_marl.training.optimization import numbers
from lab_marl.training.targets import TargetClock
from labrun.errors import DivergedError
from torch import Tensor

from lab_stairs.blocks import stacked
from lab_stairs.network import Memory, unroll
from lab_stairs.td3_bc.config import TD3BCConfig
from lab_stairs.td3_bc.network import (
    ActorCritic,
    ActorPolicy,
    agent_values,
    draw_kept_joints,
    histories_at,
    joint_actions,
    step_from,
    unroll_histories,
)
from lab_stairs.td3_bc.objectives import (
    actor_loss,
    cloning_error,
    move_towards,
    smoothed_actions,
    twin_loss,
    twin_targets,
    value_weight,
)
from lab_stairs.td3_bc.rows import TransitionRows, draw_rows


@dataclass(frozen=True)
class CriticLosses:
    """The critics on one batch."""

    total: Tensor
    totals: Tensor
    """(2, R): Q_tot of the dataset's actions."""
    targets: Tensor
    """(R,): y."""
    histories: list[Memory]
    """The first critic's before each time step, of the agents whose transition begins there."""


@dataclass(frozen=True)
class ActorLosses:
    """The actor on one batch."""

    total: Tensor
    cloning: Tensor
    weight: Tensor
    """lambda; 0 where behaviour cloning is alone."""


class TD3BCLearner:
    """Networks, targets and optimizers of one run; serves every task of `layout`'s signature."""

    def __init__(
        self, layouts: Sequence[Layout], config: TD3BCConfig, *, device: torch.device
    ) -> None:
        layout = layouts[0]
        self.config = config
        self.device = device
        self.online = ActorCritic(layout, config).to(device)
        self.target = copy.deepcopy(self.online).requires_grad_(False)
        self.actor_parameters = list(self.online.actor.parameters())
        self.critic_parameters = [
            *self.online.critics.parameters(),
            *self.online.mixers.parameters(),
        ]
        rate = config.learning_rate
        self.actor_optimizer = torch.optim.Adam(self.actor_parameters, lr=rate, fused=True)
        self.critic_optimizer = torch.optim.Adam(self.critic_parameters, lr=rate, fused=True)
        self.actor_clock = TargetClock(config.policy_delay)
        self.target_clock = TargetClock(config.target_update_every)

    def update(self, batch: Batch) -> dict[str, float]:
        rows = draw_rows(batch, length=self.config.chunk)
        if self.config.alpha == 0:
            metrics = self._actor_gradient(rows, [])
            self.actor_optimizer.step()
            return {"loss": metrics["bc_loss"]} | metrics
        losses = self.critic_losses(rows, self.draw_noise(rows))
        metrics = self._critic_gradient(rows, losses)
        if self.actor_clock.tick():
            metrics |= self._actor_gradient(rows, losses.histories)
            self.actor_optimizer.step()
        self.critic_optimizer.step()
        if self.target_clock.tick():
            pairs = zip(self.target.parameters(), self.online.parameters(), strict=True)
            for target, online in pairs:
                move_towards(target, online, tau=self.config.tau)
        return metrics

    def draw_noise(self, rows: TransitionRows) -> Tensor:
        """(R, n, j) noise on the target actor's actions, before it is cut off."""
        return torch.randn_like(rows.actions) * self.config.smoothing_noise

    def draw_kept(self, rows: TransitionRows) -> Tensor | None:
        """(R, n, k): which of the actor's tokens stay in this update."""
        if self.config.token_dropout == 0:
            return None
        return draw_kept_joints(
            rows.layout,
            len(rows.actions),
            probability=self.config.token_dropout,
            device=self.device,
        )

    def critic_losses(self, rows: TransitionRows, noise: Tensor) -> CriticLosses:
        """The critics' losses under given noise (R, n, j) of the target's actions."""
        layout, counts = rows.layout, rows.counts[1:]
        taken = self._features(layout, rows.at(rows.obs), rows.actions)
        weights = self.online.critic_weights()
        read, memories = unroll_histories(weights, self.config.network, layout, taken, counts)
        totals = self.online.totals(layout, agent_values(weights, read), rows.at(rows.state))
        targets = twin_targets(
            rows.reward,
            rows.terminated,
            self._following(rows, taken, noise),
            gamma=self.config.gamma,
        )
        histories = histories_at(memories, counts, layout.num_agents)
        return CriticLosses(twin_loss(totals, targets), totals.detach(), targets, histories)

    @torch.no_grad()
    def _following(self, rows: TransitionRows, taken: EntityFeatures, noise: Tensor) -> Tensor:
        """(2, R): Q'_1 and Q'_2 of the smoothed actions at the frame after each transition."""
        layout, config = rows.layout, self.config.network
        actor = stacked([self.target.actor])
        seen = self._features(layout, rows.obs, rows.last)
        read = unroll(actor, config, layout, seen, rows.counts)
        actions = smoothed_actions(
            rows.after(joint_actions(actor, read)[0]), noise, clip=self.config.smoothing_clip
        )
        critics = self.target.critic_weights()
        _, memories = unroll_histories(critics, config, layout, taken, rows.counts[1:])
        valued = self._features(layout, rows.after(rows.obs), actions)
        read = step_from(critics, config, layout, valued, memories[1:], first=1)
        return self.target.totals(layout, agent_values(critics, read), rows.after(rows.state))

    def actor_losses(
        self, rows: TransitionRows, histories: Sequence[Memory], keep: Tensor | None
    ) -> ActorLosses:
        """The actor's losses under a given token dropout (None: none).

        `histories` are those of `CriticLosses`; none are needed where alpha is 0.
        """
        layout, config = rows.layout, self.config.network
        weights = stacked([self.online.actor])
        seen = self._features(layout, rows.at(rows.obs), rows.at(rows.last))
        read = unroll(weights, config, layout, seen, rows.counts[1:], keep)
        actions = joint_actions(weights, read)[0]
        cloning = cloning_error(actions, rows.actions)
        if self.config.alpha == 0:
            return ActorLosses(cloning, cloning.detach(), torch.zeros_like(cloning))
        values = self._values(rows, actions, histories)
        weight = value_weight(values, alpha=self.config.alpha)
        return ActorLosses(actor_loss(values, weight, cloning), cloning.detach(), weight)

    def _values(self, rows: TransitionRows, actions: Tensor, histories: Sequence[Memory]) -> Tensor:
        """(R,): Q_1 of actions (R, n, j), with gradient to the actions and not to the critic."""
        layout = rows.layout
        with torch.no_grad():
            critic = stacked([self.online.critics[0]])
        valued = self._features(layout, rows.at(rows.obs), actions)
        read = step_from(critic, self.config.network, layout, valued, histories, first=0)
        return self.online.totals(layout, agent_values(critic, read), rows.at(rows.state))[0]

    def _critic_gradient(self, rows: TransitionRows, losses: CriticLosses) -> dict[str, float]:
        norm = _gradient(losses.total, self.critic_parameters, self.config, rows.layout.task)
        terms = {
            "loss": losses.total,
            "q_total": losses.totals.mean(),
            "target": losses.targets.mean(),
        }
        return numbers(terms) | {"grad_norm": norm}

    def _actor_gradient(
        self, rows: TransitionRows, histories: Sequence[Memory]
    ) -> dict[str, float]:
        losses = self.actor_losses(rows, histories, self.draw_kept(rows))
        norm = _gradient(losses.total, self.actor_parameters, self.config, rows.layout.task)
        terms = {
            "actor_loss": losses.total,
            "bc_loss": losses.cloning,
            "value_weight": losses.weight,
        }
        return numbers(terms) | {"actor_grad_norm": norm}

    def _features(self, layout: Layout, obs: Tensor, actions: Tensor) -> EntityFeatures:
        return entity_features(layout, obs, actions, id_bits=self.config.network.id_bits)

    def policy(self) -> ActorPolicy:
        return ActorPolicy(self.online.actor, self.config.network)

    def state_dict(self) -> dict[str, Any]:
        return {name: part.state_dict() for name, part in self._parts().items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, part in self._parts().items():
            part.load_state_dict(state[name])

    def _parts(self) -> dict[str, Any]:
        """All that training goes on from."""
        return {
            "online": self.online,
            "target": self.target,
            "actor_optimizer": self.actor_optimizer,
            "critic_optimizer": self.critic_optimizer,
            "actor_clock": self.actor_clock,
            "target_clock": self.target_clock,
        }


def _gradient(loss: Tensor, parameters: Sequence[Tensor], config: TD3BCConfig, task: str) -> float:
    """Leaves the clipped gradient in the parameters; its norm before that.

    Raises DivergedError where loss or norm is not finite.
    """
    for parameter in parameters:
        parameter.grad = None
    loss.backward(inputs=list(parameters))
    norm = torch.nn.utils.clip_grad_norm_(parameters, config.max_grad_norm)
    if not torch.isfinite(norm + loss.detach()):
        raise DivergedError(f"task {task}: loss {loss.item()}, gradient norm {norm.item()}")
    return norm.item()

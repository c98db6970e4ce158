"""STAIRS-Former as a learner: TD on the mixed value and behaviour cloning on the agents' values."""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from lab_marl.cloning.objectives import cross_entropy_cloning
from lab_marl.environments.interface import Policy
from lab_marl.episodes.batches import Batch
from lab_marl.episodes.layouts import Layout
from lab_marl.kernel.choice import Choice
from lab_marl.networks.rows import Rows, step_mask, total_value
from lab_marl.training.cuda_graphs import GraphedGradients
from lab_marl.training.entity_features import EntityFeatures, entity_features, last_actions
from lab_marl.training.targets import RoundClock, TargetClock
from labrun.errors import DivergedError, LabError
from torch import Tensor

from lab_stairs.blocks import stacked
from lab_stairs.config import StairsConfig
from lab_stairs.kernel_choice import choose, open_kernel, refusal
from lab_stairs.mixer import AttentionMixer
from lab_stairs.network import (
    StairsNetwork,
    compiled_values,
    draw_kept_tokens,
    q_values,
    unroll,
)
from lab_stairs.objectives import double_q_values, q_value_cloning, td_loss, td_targets
from lab_stairs.passes import Passes, passes
from lab_stairs.policy import NetworkPolicy

CLONING = {"cross_entropy": cross_entropy_cloning, "q_value": q_value_cloning}
METRICS: tuple[str, ...] = ("loss", "td_loss", "bc_loss", "grad_norm", "q_taken", "target")
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
        self.clock = _clock(config, num_tasks=len(layouts))
        self.layouts = layouts
        self._begin(choose(config, layouts, device.type))

    def _begin(self, choice: Choice) -> None:
        """Take the path; with `kernel: auto` torch's, where the compiler fails."""
        try:
            self._take(choice)
        except LabError as error:
            if self.config.kernel != "auto":
                raise
            self._take(Choice("torch", str(error)))

    def _take(self, choice: Choice) -> None:
        self.kernel = open_kernel(self.config.network) if choice.path == "cpp" else None
        graphed = choice.path == "cuda_graph"
        self.graphs = GraphedGradients(self._gradients, self.parameters) if graphed else None
        self.choice = choice

    def remarks(self) -> Sequence[str]:
        return (f"kernel of the blocks: {self.choice}",)

    def update(self, batch: Batch) -> dict[str, float]:
        keep = self.draw_kept(batch)
        terms = self._gradients(batch, keep) if self.graphs is None else self.graphs(batch, keep)
        metrics = dict(zip(METRICS, terms.tolist(), strict=True))
        if not math.isfinite(metrics["loss"] + metrics["grad_norm"]):
            raise DivergedError(
                f"task {batch.layout.task}: loss {metrics['loss']}, gradient norm "
                f"{metrics['grad_norm']}"
            )
        self.optimizer.step()
        if self.clock.tick():
            self.target_network.load_state_dict(self.network.state_dict())
            self.target_mixer.load_state_dict(self.mixer.state_dict())
        return metrics

    def _gradients(self, batch: Batch, keep: Tensor | None) -> Tensor:
        """Leave the clipped gradient on the parameters; the numbers of METRICS in one tensor, so
        that one copy brings them from a GPU."""
        losses = self.losses(batch, keep)
        self.optimizer.zero_grad(set_to_none=True)
        losses.total.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, self.config.max_grad_norm)
        terms = (losses.total, losses.td, losses.cloning, norm, losses.q_taken, losses.target)
        return torch.stack(terms).detach()

    def passes(self, batch: Batch) -> Passes:
        return passes(batch, self.config.bc_mask, self.choice.path)

    def draw_kept(self, batch: Batch) -> Tensor | None:
        """Which tokens stay in this update, for each row of `Passes.featured`."""
        if self.config.token_dropout == 0:
            return None
        actions = self.passes(batch).featured.take(batch.actions)
        return draw_kept_tokens(batch.layout, actions, probability=self.config.token_dropout)

    def losses(self, batch: Batch, keep: Tensor | None) -> Losses:
        """The losses of a batch under a given token dropout (None: none)."""
        layout, rows = batch.layout, self.passes(batch)
        featured, trained, valued = rows.featured, rows.trained, rows.valued
        features = entity_features(
            layout,
            featured.take(batch.obs),
            featured.take(last_actions(batch)),
            id_bits=self.config.network.id_bits,
        )
        q = self._trained_values(
            layout,
            _narrow(features, trained, featured),
            trained.counts,
            None if keep is None else trained.narrow(keep, featured),
        )
        actions = valued.take(batch.actions)
        taken = valued.narrow(q, trained).gather(-1, actions[..., None]).squeeze(-1)
        total = total_value(self.mixer, batch, valued, taken)
        following = self._next_values(
            batch, _narrow(features, rows.bootstrap, featured), rows.bootstrap
        )
        targets = td_targets(batch.reward, batch.terminated, following, gamma=self.config.gamma)
        td = td_loss(total, targets, batch.transitions)
        cloning = self._cloning(batch, q, trained)
        weighted = self.config.td_weight * td + self.config.bc_weight * cloning
        begins = valued.take(batch.transitions)
        return Losses(
            total=weighted,
            td=td.detach(),
            cloning=cloning.detach(),
            q_taken=(taken.detach().mean(1) * begins).sum() / begins.sum().clamp(min=1),
            target=(targets * batch.transitions[:-1]).sum() / begins.sum().clamp(min=1),
        )

    def _trained_values(
        self, layout: Layout, features: EntityFeatures, counts: Sequence[int], keep: Tensor | None
    ) -> Tensor:
        """Q (rows, n, a) of the online network, with its gradient."""
        if self.kernel is not None:
            return compiled_values(self.kernel, self.network, layout, features, counts, keep)
        weights, network = stacked([self.network]), self.config.network
        read = unroll(weights, network, layout, features, counts, keep)
        return q_values(weights, layout, read)[0]

    def _cloning(self, batch: Batch, q: Tensor, trained: Rows) -> Tensor:
        if self.config.bc_mask == "published":
            reached = batch.filled.amax(1, keepdim=True)  # time steps that some episode has
            weight = reached.expand_as(batch.filled)
        else:
            weight = batch.transitions
        steps = step_mask(batch, self.config.bc_mask).sum().clamp(min=1)
        form = CLONING[self.config.bc_form]
        return form(q, trained.take(batch.actions), trained.take(weight), steps=steps)

    @torch.no_grad()
    def _next_values(self, batch: Batch, features: EntityFeatures, rows: Rows) -> Tensor:
        """(T, B): Q'_tot of the action that the online network prefers, at `rows`; else 0."""
        online, target = self._both_values(batch.layout, features, rows.counts)
        values = double_q_values(online, target, rows.take(batch.avail_actions))
        return total_value(self.target_mixer, batch, rows, values)

    def _both_values(
        self, layout: Layout, features: EntityFeatures, counts: Sequence[int]
    ) -> Sequence[Tensor]:
        """Q (rows, n, a) of the online network and of the target."""
        networks = [self.network, self.target_network]
        if self.kernel is not None:
            kernel = self.kernel
            return [compiled_values(kernel, each, layout, features, counts) for each in networks]
        weights = stacked(networks, dtype=DTYPES[self.config.no_grad_dtype])
        read = unroll(weights, self.config.network, layout, features, counts)
        return q_values(weights, layout, read).float().unbind()

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
            "kernel": self.choice.path,
        }

    def resume(self, state: dict[str, Any]) -> None:
        """Raises LabError where the state's run used the compiled kernel and this one cannot."""
        self._keep_path(state.get("kernel", "torch"))
        self.load_state_dict(state)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.mixer.load_state_dict(state["mixer"])
        self.target_network.load_state_dict(state["target_network"])
        self.target_mixer.load_state_dict(state["target_mixer"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.clock.load_state_dict(state["clock"])

    def _keep_path(self, path: str) -> None:
        """With `kernel: auto`, go on with the path that the run began with."""
        if self.config.kernel != "auto" or path == self.choice.path:
            return
        if path == "torch":
            return self._take(Choice("torch", "as the run began"))
        if path == "cuda_graph":
            return self._take(Choice("torch", "the run began on a GPU"))
        reason = refusal(self.config, self.layouts, self.device.type)
        if reason:
            raise LabError(
                f"this learner was trained with the compiled kernel, which cannot serve here: "
                f"{reason}; resume where it can, or begin anew with trainer.kernel=torch"
            )
        self._take(Choice("cpp", "as the run began"))


def _clock(config: StairsConfig, *, num_tasks: int) -> TargetClock | RoundClock:
    if config.target_copies == "rounds":
        return RoundClock(config.target_update_every, num_tasks=num_tasks)
    return TargetClock(config.target_update_every)


def _narrow(features: EntityFeatures, rows: Rows, outer: Rows) -> EntityFeatures:
    """The features of `rows`, which are all among those of `outer`."""
    return EntityFeatures(*(rows.narrow(part, outer) for part in vars(features).values()))

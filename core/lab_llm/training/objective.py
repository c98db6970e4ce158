"""What is minimised: token advantages once a batch of rollouts, a loss for each micro-batch."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

from jaxtyping import Float, Int, Num
from torch import Tensor

from lab_llm.training import surrogate
from lab_llm.training.advantages import plain
from lab_llm.training.config import GRPOSettings
from lab_llm.training.rollouts import Rollouts
from lab_llm.training.step_metrics import Mean
from lab_llm.training.teacher import Teacher
from lab_llm.training.teacher_weights import Placing, TeacherWeights

AdvantageFunction = Callable[[Rollouts], Tensor]
"""Rollouts -> A_t of each token (B, T), 0 outside the loss mask."""
Measures = Callable[[Rollouts], Mapping[str, float | Mean]]
"""Rollouts -> metrics of the method, each with a row in docs/metrics.md. What is not the same on
every rank is a `Mean`."""
AdvantagesAtUpdate = Callable[[Rollouts, Tensor], Tensor]
"""(annotated rollouts, entropies of the policy (B, T), nats) -> advantages (B, T)."""


class TokenPass(NamedTuple):
    """The policy's pass over a micro-batch, with gradient."""

    logprobs: Float[Tensor, "B T"]
    """log p of the tokens, at the sampling temperature (nats)."""
    entropies: Float[Tensor, "B T"]
    """Of p over the whole vocabulary (nats)."""


@runtime_checkable
class Forward(Protocol):
    """The policy and its place in the optimizer step, as the trainer offers them to a loss."""

    @property
    def num_micro_batches(self) -> int:
        """Micro-batches whose losses this process adds up to one optimizer step."""
        ...

    def token_pass(self, batch: Rollouts) -> TokenPass:
        """Log-probabilities and entropies of the policy."""
        ...

    def inside(self, loss: Callable[[Any], Tensor]) -> Tensor:
        """`loss(model)`, called within the wrapped model's own forward pass, in its precision."""
        ...

    def hidden_states(
        self, model: Any, ids: Int[Tensor, "B L"], mask: Int[Tensor, "B L"], *, width: int
    ) -> Float[Tensor, "B T H"]:
        """Last hidden states of the model that predict the last `width` tokens."""
        ...

    def most_calls(self, num_calls: int) -> int:
        """Where the ranks shard the weights, the largest `num_calls` of any rank, so that all call
        the layer equally often; else `num_calls`."""
        ...

    def share(self, num_tokens: Num[Tensor, ""]) -> Float[Tensor, ""]:
        """One optimizer step's tokens on one process, on average, out of the whole batch's.

        Losses divided by it add up to the step's mean: over micro-batches they are summed, over
        processes averaged.
        """
        ...

    def record(self, values: Mapping[str, Tensor], mask: Tensor) -> None:
        """Log the means of per-token values over the mask's tokens of all processes."""
        ...


class Objective(ABC):
    """One method's maths; `annotate` and `loss` are what it must have."""

    teacher: Teacher | None
    """Who reads the rollouts first; None: nobody."""
    teacher_weights: TeacherWeights | None
    """The teacher's own; None: they are the policy's."""
    learns_from_equal_rewards: bool
    """Whether groups of equal rewards, whose advantages are 0, still teach something."""

    @abstractmethod
    def annotate(self, rollouts: Rollouts) -> Rollouts:
        """The rollouts with the method's token advantages; pure, once a batch."""

    @abstractmethod
    def loss(self, forward: Forward, batch: Rollouts) -> Tensor:
        """The loss of a micro-batch, its share of the optimizer step's."""

    def measure(self, rollouts: Rollouts) -> Mapping[str, float | Mean]:
        """Metrics of annotated rollouts, see `Measures`."""
        del rollouts
        return {}

    def begin(self, model: Any) -> None:
        """Told the policy's model, as it was loaded, before a trainer wraps it."""
        if self.teacher_weights is not None:
            self.teacher_weights.begin(model)

    def place(self, placing: Placing) -> None:
        """Put what the objective holds where the policy is trained."""
        if self.teacher_weights is not None:
            self.teacher_weights.place(placing)

    def after_step(self, model: Any) -> None:
        """Told the policy's model after each optimizer step; ranks may share its weights."""
        if self.teacher_weights is not None:
            self.teacher_weights.after_step(model)

    def after_batch(self, model: Any, *, num_batches: int) -> None:
        """Called after the last optimizer step of a batch of rollouts, after `after_step`.

        `num_batches`: of rollouts from the start of the run, this one among them.
        """
        if self.teacher_weights is not None:
            self.teacher_weights.after_batch(model, num_batches=num_batches)

    def save(self, folder: Path) -> None:
        """Write what the objective itself must have after a resume.

        All ranks call it, and the first writes.
        """
        if self.teacher_weights is not None:
            self.teacher_weights.save(folder)

    def load(self, folder: Path) -> None:
        """Read what `save` wrote."""
        if self.teacher_weights is not None:
            self.teacher_weights.load(folder)


def unmeasured(rollouts: Rollouts) -> Mapping[str, float | Mean]:
    """No metrics."""
    del rollouts
    return {}


@dataclass(frozen=True)
class Surrogate(Objective):
    """The clipped surrogate of GRPO, with token advantages of any kind."""

    settings: GRPOSettings
    token_advantages: AdvantageFunction = plain
    teacher: Teacher | None = None  # pyrefly: ignore[bad-override]
    teacher_weights: TeacherWeights | None = None  # pyrefly: ignore[bad-override]
    measures: Measures = unmeasured
    advantages_at_update: AdvantagesAtUpdate | None = None
    """Makes new advantages of the annotated ones and the policy's entropy at the update."""
    learns_from_equal_rewards: bool = False  # pyrefly: ignore[bad-override]

    def annotate(self, rollouts: Rollouts) -> Rollouts:
        return replace(rollouts, advantages=self.token_advantages(rollouts))

    def measure(self, rollouts: Rollouts) -> Mapping[str, float | Mean]:
        return self.measures(rollouts)

    def loss(self, forward: Forward, batch: Rollouts) -> Float[Tensor, ""]:
        """L = mean of the token losses - entropy_coef * mean of the entropies."""
        return self.loss_of(forward.token_pass(batch), forward, batch)

    def loss_of(self, tokens: TokenPass, forward: Forward, batch: Rollouts) -> Float[Tensor, ""]:
        """The loss, of a pass over the micro-batch that has been made."""
        logprobs, entropies = tokens
        advantages = batch.advantages
        if self.advantages_at_update is not None:
            advantages = self.advantages_at_update(batch, entropies) * batch.loss_mask
        old = logprobs.detach() if batch.old_logprobs is None else batch.old_logprobs
        ratio = surrogate.importance_ratio(logprobs, old)
        means = {"entropy": entropies}
        if batch.reference_logprobs is not None:
            # before the surrogate: gradients add up in TRL's order
            means["kl"] = surrogate.kl_to_reference(logprobs, batch.reference_logprobs, ratio)
        delta = self.settings.dual_clip
        losses = surrogate.clipped_surrogate(ratio, advantages, **self._clip, delta=delta)
        if batch.importance_weight is not None:
            losses = losses * batch.importance_weight
        if "kl" in means:
            losses = losses + self.settings.beta * means["kl"]
        clipped = surrogate.is_clipped(ratio, advantages, **self._clip)
        means["ratio_clip_fraction"] = clipped.float()
        forward.record(means, batch.loss_mask)
        loss = self._reduced(losses, batch, forward)
        if not self.settings.entropy_coef:
            return loss
        num_tokens = forward.share(batch.num_tokens)
        bonus = surrogate.mean_over_tokens(entropies, batch.loss_mask, num_tokens=num_tokens)
        return loss - self.settings.entropy_coef * bonus

    def _reduced(self, losses: Tensor, batch: Rollouts, forward: Forward) -> Tensor:
        """The token losses' mean by `loss_type`: this micro-batch's share of the step's."""
        mask = batch.loss_mask
        if self.settings.loss_type == "dapo":
            num_tokens = forward.share(batch.num_tokens)
            return surrogate.mean_over_tokens(losses, mask, num_tokens=num_tokens)
        if self.settings.loss_type == "grpo":
            return surrogate.mean_over_rollouts(losses, mask) / forward.num_micro_batches
        longest = self.settings.max_completion_length
        mean = surrogate.mean_over_length(losses, mask, length=longest)
        return mean / forward.num_micro_batches

    @property
    def _clip(self) -> dict[str, float]:
        """The clip's two widths; the upper one is the lower one unless it is set."""
        low, high = self.settings.epsilon, self.settings.epsilon_high
        return {"epsilon_low": low, "epsilon_high": low if high is None else high}

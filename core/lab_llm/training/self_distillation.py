"""SDPO (arXiv 2601.20802): the loss is the distance to a teacher that is shown a solution.

The teacher is the same model, its weights frozen, averaged or the student's own. OPSD, SDFT and
SDPO mixed with a policy gradient are settings of it.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from lab_llm.policy.head import logits_head
from lab_llm.training.config import TeacherSettings
from lab_llm.training.distillation import compare_hidden, distillation_loss, importance_weight
from lab_llm.training.distillation_config import DistillationConfig
from lab_llm.training.objective import Forward, Objective, Surrogate, TokenPass
from lab_llm.training.rollouts import Rollouts
from lab_llm.training.surrogate import mean_over_rollouts
from lab_llm.training.teacher import Teacher, distilling_teacher
from lab_llm.training.teacher_weights import TeacherWeights, distilling_weights


class SelfDistillation(Objective):
    """SDPO's loss in place of the surrogate, or mixed with it."""

    learns_from_equal_rewards = True

    def __init__(
        self,
        config: DistillationConfig,
        *,
        teacher: Teacher,
        temperature: float,
        teacher_weights: TeacherWeights | None = None,
        surrogate: Surrogate | None = None,
    ) -> None:
        self.config, self.teacher, self.temperature = config, teacher, temperature
        self.surrogate = surrogate
        """The loss's other part, where `config.weight` is below 1."""
        self.teacher_weights = teacher_weights

    def annotate(self, rollouts: Rollouts) -> Rollouts:
        """The rollouts as they are: A_t = A, and only the surrogate reads it."""
        return rollouts

    # The loss -----------------------------------------------------------------------------------

    def loss(self, forward: Forward, batch: Rollouts) -> Tensor:
        """L = (1 - w) L_surrogate + w mean of importance weight x divergence, w being `weight`.

        The mean is `reduction`'s. w 1 is SDPO; below 1 it is TRL's mixture.
        """

        def distilled(student: Any) -> Tensor:
            return self._distilled(student, forward, batch)

        return forward.inside(distilled)

    def _distilled(self, student: Any, forward: Forward, batch: Rollouts) -> Float[Tensor, ""]:
        """The micro-batch's share of the step's loss; runs inside the model's own forward."""
        config, sequences, width = self.config, batch.teacher, batch.width
        assert sequences is not None
        own, tokens = _compared_rows(batch.loss_mask), batch.ids[:, -width:]
        own_weights = self.teacher_weights
        teacher = student if own_weights is None else own_weights.model
        seen = forward.hidden_states(student, batch.ids, batch.attention_mask, width=width)
        with torch.no_grad():
            told = forward.hidden_states(
                teacher, sequences.ids, sequences.attention_mask, width=width
            )
        compared = compare_hidden(
            seen[own],
            told[own],
            tokens[own],
            heads=(logits_head(student), logits_head(teacher)),
            temperature=self.temperature,
            alpha=config.alpha,
            top_k=config.top_k,
            tail=config.tail,
            clip=config.pointwise_clip,
            chunk_size=config.chunk_size,
            num_chunks=forward.most_calls(-(-int(own.sum()) // config.chunk_size)),
        )
        logprobs = _placed(compared.logprobs, own)
        # While a batch of rollouts makes one update, p_old is p itself.
        old = logprobs if batch.old_logprobs is None else batch.old_logprobs
        divergences = _placed(compared.divergences, own)
        weight = importance_weight(logprobs, old, clip=config.ratio_clip)
        distance = self._reduced(divergences, weight, forward, batch)
        if config.weight == 1:
            forward.record({"entropy": compared.entropies}, batch.loss_mask[own])
            return distance
        assert self.surrogate is not None
        tokens_seen = TokenPass(logprobs, _placed(compared.entropies, own))
        surrogate = self.surrogate.loss_of(tokens_seen, forward, batch)
        return (1 - config.weight) * surrogate + config.weight * distance

    def _reduced(
        self, divergences: Tensor, weight: Tensor, forward: Forward, batch: Rollouts
    ) -> Float[Tensor, ""]:
        """The token losses' mean by `reduction`: this micro-batch's share of the step's."""
        sequences = batch.teacher
        assert sequences is not None
        if self.config.reduction == "rollouts":
            mask = batch.loss_mask * sequences.has_context[:, None]
            return mean_over_rollouts(divergences * weight, mask) / forward.num_micro_batches
        return distillation_loss(
            divergences,
            weight,
            batch.loss_mask,
            sequences.has_context,
            num_tokens=forward.share(sequences.num_tokens),
        )


def self_distillation(settings: TeacherSettings) -> SelfDistillation:
    """The objective of `settings.distillation`, with its teacher."""
    return SelfDistillation(
        settings.distillation,
        teacher=distilling_teacher(settings),
        teacher_weights=distilling_weights(settings),
        temperature=settings.temperature,
        surrogate=Surrogate(settings),
    )


def _compared_rows(loss_mask: Tensor) -> Tensor:
    """The policy's own tokens (b, T); of rollouts without any the first position, whose loss is
    masked: the model's backward pass then runs on this rank as on the others."""
    own = loss_mask.bool()
    if not own.any():
        own[0, 0] = True
    return own


def _placed(values: Tensor, rows: Tensor) -> Tensor:
    """(N,) values at the true places of rows (b, T), 0 elsewhere."""
    return torch.zeros(rows.shape, dtype=values.dtype, device=values.device).masked_scatter(
        rows, values
    )

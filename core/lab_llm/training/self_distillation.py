"""SDPO (arXiv 2601.20802): the loss is the distance to a teacher that is shown a solution.

The teacher is the same model, its weights frozen, averaged or the student's own. OPSD, SDFT and
SDPO mixed with a policy gradient are settings of it.
"""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from labrun.attempts.loading import loading
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from lab_llm.distributed import ranks
from lab_llm.training.distillation import compare_hidden, distillation_loss, importance_weight
from lab_llm.training.distillation_config import DistillationConfig
from lab_llm.training.objective import Forward, Objective, Placing, Surrogate, TokenPass
from lab_llm.training.rollouts import Rollouts
from lab_llm.training.surrogate import mean_over_rollouts
from lab_llm.training.teacher import Teacher

if TYPE_CHECKING:
    from transformers import PreTrainedModel

TEACHER_FILE, REMAINDER = "teacher.safetensors", "remainder/"


class SelfDistillation(Objective):
    """SDPO's loss in place of the surrogate, or mixed with it."""

    learns_from_equal_rewards = True

    def __init__(
        self,
        config: DistillationConfig,
        *,
        teacher: Teacher,
        temperature: float,
        surrogate: Surrogate | None = None,
    ) -> None:
        self.config, self.teacher, self.temperature = config, teacher, temperature
        self.surrogate = surrogate
        """The loss's other part, where `config.weight` is below 1."""
        self.teacher_model: Any = None
        """The teacher's weights where they are not the student's."""
        self.remainders: dict[str, Tensor] = {}
        """What the average's own precision cannot hold (see `remainders_of`). Where ranks share the
        teacher's weights, the first keeps them all, in the machine's memory."""

    def annotate(self, rollouts: Rollouts) -> Rollouts:
        """The rollouts as they are: A_t = A, and only the surrogate reads it."""
        return rollouts

    # The loss -----------------------------------------------------------------------------------

    def loss(self, forward: Forward, batch: Rollouts) -> Tensor:
        """L = (1 - w) L_surrogate + w mean of importance weight x divergence, w being `weight`.

        The mean is over the tokens with a context. w 1 is SDPO; below 1 it is TRL's mixture.
        """

        def distilled(student: Any) -> Tensor:
            return self._distilled(student, forward, batch)

        return forward.inside(distilled)

    def _distilled(self, student: Any, forward: Forward, batch: Rollouts) -> Float[Tensor, ""]:
        """The micro-batch's share of the step's loss; runs inside the model's own forward."""
        config, sequences, width = self.config, batch.teacher, batch.width
        assert sequences is not None
        own, tokens = _compared_rows(batch.loss_mask), batch.ids[:, -width:]
        teacher = student if self.teacher_model is None else self.teacher_model
        seen = forward.hidden_states(student, batch.ids, batch.attention_mask, width=width)
        with torch.no_grad():
            told = forward.hidden_states(
                teacher, sequences.ids, sequences.attention_mask, width=width
            )
        compared = compare_hidden(
            seen[own],
            told[own],
            tokens[own],
            heads=(_head(student), _head(teacher)),
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

    # The teacher's weights ----------------------------------------------------------------------

    def begin(self, model: Any) -> None:
        if self.config.teacher == "live":
            return
        self.teacher_model = frozen_copy(model)

    def place(self, placing: Placing) -> None:
        if self.teacher_model is None:
            return
        self.teacher_model = teacher = placing(self.teacher_model)
        is_ema = self.config.teacher == "ema"
        if is_ema and (ranks.is_first() or not ranks.shares_weights(teacher)):
            self.remainders = remainders_of(teacher)

    def after_step(self, model: Any) -> None:
        if self.config.ema_every == "step":
            self._move_teacher(model)

    def after_batch(self, model: Any) -> None:
        if self.config.ema_every == "batch":
            self._move_teacher(model)

    def _move_teacher(self, student: Any) -> None:
        if self.config.teacher == "ema":
            average(self.teacher_model, student, self.remainders, rate=self.config.ema_rate)

    def save(self, folder: Path) -> None:
        if self.config.teacher != "ema":
            return
        saved: dict[str, Tensor] = {}
        for name, parameter in self.teacher_model.named_parameters():
            with ranks.whole_parameters([parameter]):
                if ranks.is_first():
                    saved[name] = parameter.detach().cpu()
        if ranks.is_first():
            saved |= {REMAINDER + name: rest.cpu() for name, rest in self.remainders.items()}
            save_file(saved, folder / TEACHER_FILE)

    @torch.no_grad()
    def load(self, folder: Path) -> None:
        if self.config.teacher != "ema":
            return
        with loading(folder / TEACHER_FILE), safe_open(folder / TEACHER_FILE, "pt") as saved:
            for name, parameter in self.teacher_model.named_parameters():
                found = saved.get_tensor(name)
                with ranks.whole_parameters([parameter], changed=True):
                    parameter.copy_(found)
            for name, rest in self.remainders.items():
                rest.copy_(saved.get_tensor(REMAINDER + name))


@torch.no_grad()
def average(
    teacher: torch.nn.Module,
    student: torch.nn.Module,
    remainders: Mapping[str, Tensor],
    *,
    rate: float,
) -> None:
    """teacher <- (1 - rate) teacher + rate student, parameter by parameter, in place.

    A step is far less than bfloat16 tells apart: `remainders` (see `remainders_of`) keep what the
    teacher's own precision cannot hold. Of weights that ranks share the first rank's average
    counts, and no more than one parameter is ever whole.
    """
    pairs = zip(teacher.named_parameters(), student.parameters(), strict=True)
    for (name, mean), now in pairs:
        with ranks.whole_parameters([now]), ranks.whole_parameters([mean], changed=True):
            _move(mean, now, remainders.get(name), rate=rate)


def _move(mean: Tensor, now: Tensor, rest: Tensor | None, *, rate: float) -> None:
    """mean + rest <- (1 - rate) (mean + rest) + rate now."""
    whole = mean if rest is None else mean.float() + rest.to(mean.device).float()
    whole.lerp_(now.to(whole.dtype), rate)
    if rest is not None:
        mean.copy_(whole)
        rest.copy_(whole - mean.float())


def remainders_of(teacher: torch.nn.Module) -> dict[str, Tensor]:
    """Name -> zeros for every parameter in less than float32; the average is the sum of both.

    They lie beside the parameter, or in the machine's memory where ranks share it.
    """
    parameters = teacher.named_parameters()
    return {name: ranks.whole_zeros(p) for name, p in parameters if p.dtype.itemsize < 4}


def frozen_copy(model: "PreTrainedModel") -> "PreTrainedModel":
    """The same weights in a model of its own, in evaluation mode, that takes no gradient."""
    return copy.deepcopy(model).eval().requires_grad_(False)


def _head(model: Any) -> Any:
    return model.get_output_embeddings()


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

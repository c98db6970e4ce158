"""Settings of self-distillation on a student's own rollouts."""

from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le
from labrun.schema import schema


@schema
class DistillationConfig:
    """The loss and the teacher of SDPO (arXiv 2601.20802) and of its relatives.

    With `weight` 1 the loss stands in place of the surrogate. The surrogate's own settings have no
    part in it then: epsilon, epsilon_high, dual_clip, loss_type, scale_rewards and the weight of
    vLLM. beta and entropy_coef must be 0 with any weight.
    """

    weight: Annotated[float, Gt(0), Le(1)] = 1.0
    """Share of the distance to the teacher in the loss; the rest is the clipped surrogate's
    (TRL's distillation_weight, default 1). 1: no policy gradient."""

    alpha: Annotated[float, Ge(0), Le(1)] = 0.5
    """The divergence: 0, KL(teacher || student); 1, KL(student || teacher); between, the
    generalised Jensen-Shannon divergence (arXiv 2603.24472: 0.5)."""
    top_k: Annotated[int, Ge(0)] = 100
    """Tokens that are compared, the student's most probable ones (count); 0: the whole
    vocabulary (arXiv 2603.24472: 100)."""
    pointwise_clip: Annotated[float, Gt(0)] | None = None
    """Largest summand of a token's divergence, one for each compared entry (nats; OPSD, arXiv
    2601.18734: 0.05 for Qwen3-1.7B). None: no clip."""
    tail: bool = True
    """Compare the probability of all other tokens as one more outcome; else renormalise."""
    ratio_clip: Annotated[float, Gt(0)] | None = 2.0
    """Upper clip of the importance ratio that multiplies each token's loss; None: no ratio."""
    teacher: Literal["frozen", "ema", "live"] = "frozen"
    """The teacher's weights: those at the start (or of the last copy, with the trainer's
    `teacher_copy_every`), an exponential moving average, the student's."""
    ema_rate: Annotated[float, Ge(0), Le(1)] = 0.05
    """Share of the student's weights that enters the average each time (ema only)."""
    ema_every: Literal["step", "batch"] = "step"
    """When they enter it: after each optimizer step, or after the last one of a batch of rollouts
    (arXiv 2603.24472's code: batch)."""
    reduction: Literal["tokens", "rollouts"] = "tokens"
    """The mean of the tokens' losses: over all tokens of rollouts whose teacher has a context; or
    over each rollout's, then over all rollouts, of which those without a context count as 0
    (arXiv 2603.24472's code: rollouts)."""
    dont_reprompt_on_self_success: bool = True
    """A rollout is never its own teacher's solution: without another correct one, no loss."""
    richness: Literal["solution", "without_thinking", "answer"] = "solution"
    """What of the solution the teacher is shown: all of it (c = s), the part after its thinking
    (c = s without think), or the final answer alone. A solution that marks no thinking is shown
    whole, and counted in the metric teacher_context/unmarked."""
    max_context_length: Annotated[int, Ge(1)] | None = None
    """Longest solution that the teacher is shown (tokens); a longer one loses its end, and is
    counted in the metric teacher_context/truncated. None: as long as it is."""
    chunk_size: Annotated[int, Ge(1)] = 2048
    """Tokens whose logits are in memory at once (count)."""

"""Self-distillation on a student's own rollouts (SDPO, arXiv 2601.20802), as pure functions.

Shapes: N tokens, V vocabulary, K compared entries, H width of the hidden states. Log-probabilities
are in nats. p is the student, q the teacher, who is never differentiated.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils.checkpoint import checkpoint

Head = Callable[[Tensor], Tensor]
"""Hidden states (n, H) -> logits (n, V)."""


def divergence(
    student: Float[Tensor, "N K"],
    teacher: Float[Tensor, "N K"],
    *,
    alpha: float,
    clip: float | None = None,
) -> Float[Tensor, " N"]:
    """The divergence of two distributions over K outcomes, from their log-probabilities.

    alpha 0: KL(q || p); alpha 1: KL(p || q); between: the generalised Jensen-Shannon divergence
    (1 - alpha) KL(p || m) + alpha KL(q || m) with m = (1 - alpha) p + alpha q.

    With `clip` each of the K summands is at most that (OPSD, arXiv 2601.18734: pointwise KL
    clipping). A summand above it has no gradient; the sum may then be below 0.
    """
    summands = _summands(student, teacher.detach(), alpha=alpha)
    return (summands if clip is None else summands.clamp(max=clip)).sum(-1)


def _summands(student: Tensor, teacher: Tensor, *, alpha: float) -> Tensor:
    if alpha == 0:
        return _kl_summands(teacher, student)
    if alpha == 1:
        return _kl_summands(student, teacher)
    shares = student.new_tensor([1 - alpha, alpha]).log()
    mixture = torch.logaddexp(student + shares[0], teacher + shares[1])
    return (1 - alpha) * _kl_summands(student, mixture) + alpha * _kl_summands(teacher, mixture)


def _kl_summands(first: Tensor, second: Tensor) -> Tensor:
    return first.exp() * (first - second)


def compared(
    student: Float[Tensor, "N V"], teacher: Float[Tensor, "N V"], *, top_k: int, tail: bool
) -> tuple[Float[Tensor, "N K"], Float[Tensor, "N K"]]:
    """Log-probabilities of the outcomes that are compared: the student's `top_k` tokens.

    `student` and `teacher` are logits, or log-probabilities. With `tail` all other tokens are one
    more outcome, of probability 1 - sum; without it both distributions are renormalised over the
    top_k. `top_k` 0, or at least V: the whole vocabulary.
    """
    if not 0 < top_k < student.shape[-1]:
        return student.log_softmax(-1), teacher.log_softmax(-1)
    chosen = student.detach().topk(top_k, -1).indices
    if tail:
        return with_tail(_logprobs(student, chosen)), with_tail(_logprobs(teacher, chosen))
    student, teacher = student.gather(-1, chosen), teacher.gather(-1, chosen)
    return student.log_softmax(-1), teacher.log_softmax(-1)


def _logprobs(logits: Tensor, tokens: Tensor) -> Tensor:
    """log p of some tokens (N, k), without a normalised copy of all the logits (N, V)."""
    return logits.gather(-1, tokens) - logits.logsumexp(-1, keepdim=True)


def with_tail(logprobs: Float[Tensor, "N k"]) -> Float[Tensor, "N k+1"]:
    """One more entry: log(1 - sum p_i), the sum kept a rounding error below 1."""
    total = logprobs.logsumexp(-1, keepdim=True).clamp(max=-torch.finfo(logprobs.dtype).eps)
    return torch.cat([logprobs, torch.log(-torch.expm1(total))], -1)


def importance_weight(
    logprobs: Float[Tensor, "*shape"], old: Float[Tensor, "*shape"], *, clip: float | None
) -> Float[Tensor, "*shape"]:
    """min(p(y) / p_old(y), clip) of the sampled tokens, detached; 1 where `clip` is None."""
    if clip is None:
        return torch.ones_like(logprobs)
    return (logprobs - old).detach().exp().clamp(max=clip)


def distillation_loss(
    divergences: Float[Tensor, "B T"],
    weight: Float[Tensor, "B T"],
    completion_mask: Float[Tensor, "B T"],
    has_context: Float[Tensor, " B"],
    *,
    num_tokens: Float[Tensor, ""] | None = None,
) -> Float[Tensor, ""]:
    """Mean of weight x divergence over the tokens of the rollouts whose teacher had a context.

    `num_tokens` stands for that number of tokens where these are a part of a step; 0 gives 0.
    """
    mask = completion_mask * has_context[:, None]
    total = mask.sum() if num_tokens is None else num_tokens
    return (divergences * weight * mask).sum() / total.clamp(min=1.0)


class Compared(NamedTuple):
    """What the tokens of a micro-batch came to, each (N,); only the first two have a gradient."""

    divergences: Float[Tensor, " N"]
    logprobs: Float[Tensor, " N"]
    entropies: Float[Tensor, " N"]


def compare_hidden(
    student: Float[Tensor, "N H"],
    teacher: Float[Tensor, "N H"],
    tokens: Int[Tensor, " N"],
    *,
    heads: tuple[Head, Head],
    temperature: float,
    alpha: float,
    top_k: int,
    tail: bool,
    chunk_size: int,
    clip: float | None = None,
    num_chunks: int = 1,
) -> Compared:
    """Divergence, log p(y) and entropy of p at every position, from last hidden states.

    `heads` are the student's and the teacher's output layers; logits are divided by `temperature`.
    Logits exist for `chunk_size` tokens at a time, in the backward pass too, where they are
    computed again: of N x V there is never a whole. The heads are called `num_chunks` times at
    least: under ZeRO-3 each call gathers their weights, and all ranks must make as many.
    """

    def one(mine: Tensor, theirs: Tensor, sampled: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        logits = heads[0](mine).float() / temperature
        with torch.no_grad():
            other = heads[1](theirs).float() / temperature
            entropy = torch.special.entr(logits.softmax(-1)).sum(-1)
        pair = compared(logits, other, top_k=top_k, tail=tail)
        found = divergence(*pair, alpha=alpha, clip=clip)
        return found, _logprobs(logits, sampled[:, None])[:, 0], entropy

    inputs, size = (student, teacher, tokens), len(tokens)
    parts = [*zip(*(t.split(chunk_size) for t in inputs), strict=True)]
    # a row, not none: autograd leaves out what is made of empty tensors, and its gathering
    again = tuple(t[:1] for t in inputs)
    parts += [again] * (num_chunks - len(parts))
    done = [checkpoint(one, *part, use_reentrant=False) for part in parts]
    return Compared(*(torch.cat(column)[:size] for column in zip(*done, strict=True)))

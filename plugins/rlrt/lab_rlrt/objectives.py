"""The equations of RLRT (arXiv 2605.10781) and of the token weights that it is compared with.

Shapes: B rollouts, T completion tokens, V vocabulary. Log-probabilities are in nats. `student` is
log P_S(y_t | x, y_<t), `teacher` is log P_T(y_t | x, c, y_<t), both of the sampled token.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def information_asymmetry(
    student: Float[Tensor, "B T"], teacher: Float[Tensor, "B T"]
) -> Float[Tensor, "B T"]:
    """D_t = log P_S(y_t) - log P_T(y_t), eq. 1: positive where the teacher is surprised.

    Detached: the weight made of it carries no gradient.
    """
    return (student - teacher).detach()


def position_asymmetry(
    student: Float[Tensor, "B T V"], teacher: Float[Tensor, "B T V"]
) -> Float[Tensor, "B T"]:
    """KL(P_S || P_T) at each position over the whole vocabulary, eq. 2, from log-probabilities."""
    return (student.exp() * (student - teacher)).sum(-1)


def reversed_weight(
    asymmetry: Float[Tensor, "B T"], advantages: Float[Tensor, " B"]
) -> Float[Tensor, "B T"]:
    """w_t = exp(sign(A) D_t) = (P_S / P_T)^sign(A), eq. 3: above 1 where the student went alone."""
    return torch.exp(torch.sign(advantages)[:, None] * asymmetry)


def following_weight(
    asymmetry: Float[Tensor, "B T"], advantages: Float[Tensor, " B"]
) -> Float[Tensor, "B T"]:
    """w_t = (P_T / P_S)^sign(A), RLSD (arXiv 2604.03128): the inverse of eq. 3."""
    return torch.exp(-torch.sign(advantages)[:, None] * asymmetry)


def interpolated_advantage(
    advantages: Float[Tensor, " B"], weight: Float[Tensor, "B T"], *, lam: float, eps_w: float
) -> Float[Tensor, "B T"]:
    """A_t = A [(1 - lam) + lam clip(w_t, 1 - eps_w, 1 + eps_w)], eq. 4 for a rollout of r = 1."""
    clipped = weight.clamp(1 - eps_w, 1 + eps_w)
    return advantages[:, None] * ((1 - lam) + lam * clipped)


def gate_correct(
    weighted: Float[Tensor, "B T"],
    advantages: Float[Tensor, " B"],
    rewards: Float[Tensor, " B"],
) -> Float[Tensor, "B T"]:
    """A_t = weighted where r = 1, else A: the second case of eq. 4."""
    return torch.where((rewards == 1.0)[:, None], weighted, advantages[:, None])


def entropy_shaped_advantage(
    advantages: Float[Tensor, "B T"],
    entropies: Float[Tensor, "B T"],
    *,
    alpha: float,
    kappa: float,
) -> Float[Tensor, "B T"]:
    """A + min(alpha H_t, |A| / kappa), the entropy detached (arXiv 2506.14758).

    `entropies` is H_t of the policy at the update over the whole vocabulary (nats).
    """
    bonus = torch.minimum(alpha * entropies.detach(), advantages.abs() / kappa)
    return advantages + bonus


def clip_fraction(
    weight: Float[Tensor, "B T"], mask: Float[Tensor, "B T"], *, eps_w: float
) -> Float[Tensor, ""]:
    """Share of the mask's tokens whose weight lies outside [1 - eps_w, 1 + eps_w]; 0 of none."""
    outside = ((weight < 1 - eps_w) | (weight > 1 + eps_w)).float()
    return (outside * mask).sum() / mask.sum().clamp(min=1.0)


def sampled_logprobs(
    logprobs: Float[Tensor, "N V"], tokens: Int[Tensor, " N"]
) -> Float[Tensor, " N"]:
    """log P(y_t) of the sampled tokens, out of the log-probabilities of the whole vocabulary."""
    return logprobs.gather(-1, tokens[:, None])[:, 0]


def promoted(
    base: Float[Tensor, "N V"], trained: Float[Tensor, "N V"], *, threshold: float
) -> Bool[Tensor, "N V"]:
    """The entries that come first under `trained` and had base probability < `threshold`.

    At most one entry of a position: the first of equal largest ones.
    """
    top = torch.zeros_like(base, dtype=torch.bool)
    top.scatter_(-1, trained.argmax(-1, keepdim=True), True)
    return top & (base.exp() < threshold)

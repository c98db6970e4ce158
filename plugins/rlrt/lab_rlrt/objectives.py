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


def weighted_advantage(
    advantages: Float[Tensor, " B"],
    weight: Float[Tensor, "B T"],
    rewards: Float[Tensor, " B"],
    *,
    lam: float,
    eps_w: float,
    gated: bool,
) -> Float[Tensor, "B T"]:
    """A_t = A [(1 - lam) + lam clip(w_t, 1 - eps_w, 1 + eps_w)] where r = 1, else A: eq. 4.

    Without the gate every rollout has the first case, whatever its reward.
    """
    uniform = advantages[:, None]
    weighted = uniform * ((1 - lam) + lam * weight.clamp(1 - eps_w, 1 + eps_w))
    return torch.where((rewards == 1.0)[:, None], weighted, uniform) if gated else weighted


def scheduled_lam(lam: float, *, batch: int, warmup: int, decay: int) -> float:
    """lambda at a batch of rollouts: up from 0 over `warmup` batches, then to 0 over `decay` ones.

    `batch` counts from 0. decay 0: lambda stays. RLSD (arXiv 2604.03128) goes from the weighted to
    the uniform advantage linearly; the warm-up is a public port's.
    """
    if batch < warmup:
        return lam * batch / warmup
    if not decay:
        return lam
    return lam * max(1 - (batch - warmup) / decay, 0.0)


def prefix_weight(
    advantages: Float[Tensor, "B T"], mask: Float[Tensor, "B T"], *, gamma: float
) -> Float[Tensor, "B T"]:
    """w_t = 1 + gamma (1 - sum_{s<t} |a_s| / sum_s |a_s|), IW-OPD (arXiv 2606.22600, TRL's form).

    a_t = log P_T(y_t) - log P_S(y_t): what lies before a token says how far the rollout has gone
    from the teacher. w falls from 1 + gamma to 1; it is 1 + gamma where every a is 0.
    """
    sizes = advantages.abs() * mask
    before = sizes.cumsum(1) - sizes
    total = sizes.sum(1, keepdim=True).clamp(min=torch.finfo(sizes.dtype).tiny)
    return 1 + gamma * (1 - before / total)


def pull_to_teacher(
    entropies: Float[Tensor, "B T"], mask: Float[Tensor, "B T"], *, rho: float
) -> Float[Tensor, "B T"]:
    """tanh((tau - H_t) / sigma) of DASD (arXiv 2605.22263): the pull to the teacher, detached.

    tau is the rollout's (1 - rho) quantile of H_t, sigma the mean absolute deviation of H_t from
    its mean: above 0 where the policy is certain, below 0 at the share rho of its most uncertain
    tokens. 0 outside the mask.
    """
    own = mask.bool()
    known = entropies.detach().masked_fill(~own, torch.nan)
    threshold = known.nanquantile(1 - rho, dim=1, keepdim=True)
    spread = (known - known.nanmean(1, keepdim=True)).abs().nanmean(1, keepdim=True)
    pull = torch.tanh((threshold - known) / spread.clamp(min=torch.finfo(spread.dtype).tiny))
    return torch.where(own, pull, 0.0)


def normalised_gap(
    asymmetry: Float[Tensor, "B T"], mask: Float[Tensor, "B T"]
) -> Float[Tensor, "B T"]:
    """dbar_t = -D_t over the mean of |D_t| in the rollout: the teacher's evidence for a token.

    0 where every D is 0, and outside the mask.
    """
    gap = -asymmetry * mask
    mean = gap.abs().sum(1, keepdim=True) / mask.sum(1, keepdim=True).clamp(min=1.0)
    return gap / mean.clamp(min=torch.finfo(gap.dtype).tiny)


def directed_advantage(
    advantages: Float[Tensor, "B T"],
    pull: Float[Tensor, "B T"],
    gap: Float[Tensor, "B T"],
    *,
    beta: float,
) -> Float[Tensor, "B T"]:
    """A_t = A + beta omega_t dbar_t, omega_t = pull_t sigmoid(|dbar_t| - 1): DASD's advantage.

    The sigmoid trusts the teacher less where its evidence is small (arXiv 2605.22263).
    """
    return advantages + beta * pull * torch.sigmoid(gap.abs() - 1) * gap


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

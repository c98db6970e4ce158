"""The clipped surrogate of GRPO as pure functions: terms of each token, then means over tokens.

Shapes: B rollouts, T positions. `mask` (B, T) is 1 at the policy's own tokens. Log-probabilities
are in nats. A loss is minimised.
"""

import torch
from jaxtyping import Bool, Float, Num
from torch import Tensor


def importance_ratio(
    logprobs: Float[Tensor, "B T"], old_logprobs: Float[Tensor, "B T"]
) -> Float[Tensor, "B T"]:
    """rho_t = p(y_t) / p_old(y_t) of the sampled tokens (PPO, arXiv 1707.06347, eq. 6)."""
    return torch.exp(logprobs - old_logprobs)


def clipped_surrogate(
    ratio: Float[Tensor, "B T"],
    advantages: Float[Tensor, "B T"],
    *,
    epsilon_low: float,
    epsilon_high: float,
    delta: float | None = None,
) -> Float[Tensor, "B T"]:
    """-min(rho_t A_t, clip(rho_t, 1 - epsilon_low, 1 + epsilon_high) A_t), the loss of each token.

    Equation 7 of PPO (arXiv 1707.06347), with two widths as in DAPO (arXiv 2503.14476, eq. 8).
    With `delta`, rho_t in the first term is at most delta, which bounds the loss of a token whose
    A_t is negative (dual clip, arXiv 1912.09729, eq. 3).
    """
    clipped = torch.clamp(ratio, 1 - epsilon_low, 1 + epsilon_high)
    bounded = ratio if delta is None else torch.clamp(ratio, max=delta)
    return -torch.min(bounded * advantages, clipped * advantages)


def is_clipped(
    ratio: Float[Tensor, "B T"],
    advantages: Float[Tensor, "B T"],
    *,
    epsilon_low: float,
    epsilon_high: float,
) -> Bool[Tensor, "B T"]:
    """Where the clip takes effect: rho_t is too low and A_t < 0, or too high and A_t > 0."""
    low = (ratio < 1 - epsilon_low) & (advantages < 0)
    high = (ratio > 1 + epsilon_high) & (advantages > 0)
    return low | high


def kl_to_reference(
    logprobs: Float[Tensor, "B T"],
    reference_logprobs: Float[Tensor, "B T"],
    ratio: Float[Tensor, "B T"],
) -> Float[Tensor, "B T"]:
    """rho_t (r - log r - 1) with r = p_ref(y_t) / p(y_t), an estimate of KL(p || p_ref).

    The estimate k3 of GRPO (arXiv 2402.03300, eq. 4). The tokens are p_old's: rho_t, which has a
    gradient too, makes the estimate and its gradient unbiased (DeepSeek-V3.2, arXiv 2512.02556).
    """
    difference = reference_logprobs - logprobs
    return (torch.exp(difference) - difference - 1) * ratio


def mean_over_tokens(
    values: Float[Tensor, "B T"], mask: Float[Tensor, "B T"], *, num_tokens: Num[Tensor, ""]
) -> Float[Tensor, ""]:
    """sum over i, t of values / N: every token of the step weighs alike (DAPO, arXiv 2503.14476).

    N, `num_tokens`, is the step's number of tokens, of which these may be a part. This is the
    reduction `dapo`, and that of the entropy bonus whatever the loss type.
    """
    return (values * mask).sum() / num_tokens


def mean_over_rollouts(
    values: Float[Tensor, "B T"], mask: Float[Tensor, "B T"]
) -> Float[Tensor, ""]:
    """(1/B) sum over i of (1/T_i) sum over t of values: every rollout weighs alike.

    The reduction `grpo` (arXiv 2402.03300, eq. 3); a rollout without tokens counts as 0.
    """
    return ((values * mask).sum(-1) / mask.sum(-1).clamp(min=1.0)).mean()


def mean_over_length(
    values: Float[Tensor, "B T"], mask: Float[Tensor, "B T"], *, length: int
) -> Float[Tensor, ""]:
    """(1/(B length)) sum over i, t of values, `length` being the longest that a rollout may be.

    The reduction `dr_grpo` (arXiv 2503.20783): a rollout's own length does not divide its loss.
    """
    return (values * mask).sum() / (values.shape[0] * length)

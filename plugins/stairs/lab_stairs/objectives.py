"""The losses of STAIRS-Former, one function for each equation (arXiv 2603.11691 and its code).

Notation: T frames of B episodes, n agents, a actions; Q_i is agent i's value, Q_tot the mixer's.
"""

import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from lab_marl.networks.greedy import UNAVAILABLE
from torch import Tensor


def double_q_values(
    online: Float[Tensor, "*batch n a"],
    target: Float[Tensor, "*batch n a"],
    available: Bool[Tensor, "*batch n a"],
) -> Float[Tensor, "*batch n"]:
    """Q'_i(argmax over available a of Q_i(a)): the online network chooses, the target values.

    No gradient flows. Source: double Q-learning as in the published learner.
    """
    chosen = online.detach().masked_fill(~available, UNAVAILABLE).argmax(-1, keepdim=True)
    values = target.detach().masked_fill(~available, UNAVAILABLE)
    return values.gather(-1, chosen).squeeze(-1)


def td_targets(
    reward: Float[Tensor, "T B"],
    terminated: Float[Tensor, "T B"],
    target_total: Float[Tensor, "T B"],
    *,
    gamma: float,
) -> Float[Tensor, "T-1 B"]:
    """y_t = r_t + gamma (1 - done_t) Q'_tot(s_{t+1}), for all frames but the last; no gradient."""
    return (reward[:-1] + gamma * (1 - terminated[:-1]) * target_total[1:]).detach()


def td_loss(
    total: Float[Tensor, "T B"],
    targets: Float[Tensor, "T-1 B"],
    transitions: Float[Tensor, "T B"],
) -> Float[Tensor, ""]:
    """(1 / sum m) sum m_t (Q_tot(s_t, a_t) - y_t)^2 over all frames but the last.

    m = `transitions`, 1 where a transition begins. A batch without any gives 0.
    """
    mask = transitions[:-1]
    return (((total[:-1] - targets) * mask) ** 2).sum() / mask.sum().clamp(min=1)


def q_value_cloning(
    q: Float[Tensor, "rows n a"],
    actions: Int[Tensor, "rows n"],
    weight: Float[Tensor, " rows"],
    *,
    steps: Float[Tensor, ""],
) -> Float[Tensor, ""]:
    """-(1 / (n steps)) sum over rows and agents of weight * Q_i(dataset action): the paper's text.

    TD3+BC's term for discrete actions; not normalised by |Q|.
    """
    chosen = q.gather(-1, actions[..., None]).squeeze(-1)
    return -(chosen * weight[:, None]).sum() / (steps * actions.shape[1])


def pooled_entities(
    entities: Float[Tensor, "rows k d"],
    keys: Float[Tensor, "rows k w"],
    queries: Float[Tensor, "rows k w"],
) -> Float[Tensor, "rows d"]:
    """g = mean over k of sum over q of P[k, q] E_q, P[k, q] = softmax_q(key_k . query_q / sqrt(w)).

    The pooled positions are the keys and the values stand at the query positions, so this is not
    ordinary attention; checked against the published mixer's values.
    """
    scores = keys @ queries.transpose(1, 2) / queries.shape[-1] ** 0.5
    return (scores.softmax(-1) @ entities).mean(1)


def mixed_value(
    q: Float[Tensor, "rows n"],
    first: Float[Tensor, "rows n h"],
    bias: Float[Tensor, "rows h"],
    final: Float[Tensor, "rows h"],
    state_value: Float[Tensor, " rows"],
) -> Float[Tensor, " rows"]:
    """Q_tot = |final| . ELU(sum_i |first_i| Q_i + bias) + V(g): monotonic in every Q_i (QMIX)."""
    hidden = F.elu((q[:, :, None] * first.abs()).sum(1) + bias)
    return (hidden * final.abs()).sum(-1) + state_value

"""Loss terms that several baselines share, one function for each equation.

Notation: T frames of B episodes, n agents; a row is one frame of one episode.
"""

from jaxtyping import Bool, Float, Int
from lab_marl.networks.greedy import UNAVAILABLE
from torch import Tensor
from torch.nn import functional


def greedy_values(
    q: Float[Tensor, "rows n a"], available: Bool[Tensor, "rows n a"]
) -> Float[Tensor, "rows n"]:
    """max over available a of Q_i(a); the gradient flows to the largest value."""
    return q.masked_fill(~available, UNAVAILABLE).max(-1).values


def conservative_gap(
    greedy_total: Float[Tensor, "T B"],
    data_total: Float[Tensor, "T B"],
    transitions: Float[Tensor, "T B"],
) -> Float[Tensor, ""]:
    """(1 / sum m) sum m_t (Q_tot(s_t, argmax_a Q(s_t, a)) - Q_tot(s_t, a_t)); a_t is the data's.

    CQL's term with the maximum in place of the log-sum-exp; m = `transitions`.
    Source: LAMDA-RL/ODIS, updet_learner.py and odis_learner.py (`cons_loss`).
    """
    gap = (greedy_total - data_total) * transitions
    return gap.sum() / transitions.sum().clamp(min=1)


def stepwise_mean(
    values: Float[Tensor, " rows"],
    steps: Int[Tensor, " rows"],
    counted: Float[Tensor, " S"],
) -> Float[Tensor, ""]:
    """(1 / S) sum over time steps t of (1 / c_t) sum of the rows of step t.

    `steps` holds the time step of each row, `counted` c_t. All steps weigh the same, however few
    episodes are left at them. Source: LAMDA-RL/ODIS, odis_learner.py (`dec_loss`), and HiSSD,
    hissd_learner.py (`dec_loss`, `planner_loss`).
    """
    weight = 1 / (counted.clamp(min=1) * counted.shape[0])
    return (values * weight[steps]).sum()


def swapped_attention(
    queries: Float[Tensor, "*batch k w"],
    keys: Float[Tensor, "*batch j w"],
    values: Float[Tensor, "*batch k d"],
) -> Float[Tensor, "*batch j d"]:
    """out_j = sum_k softmax_k(key_j . query_k / sqrt(w)) value_k: outputs stand at the keys.

    The published softmax runs over the queries, so that keys and queries have changed places; the
    mixer's pooling is the mean of these outputs. Source: LAMDA-RL/ODIS, odis_agent.py.
    """
    return functional.scaled_dot_product_attention(keys, queries, values)

"""The losses of HiSSD, one function for each equation.

Notation: T frames of B episodes, n agents, E enemies, d numbers of a code; a row is one frame of
one episode. Source of all: mooricAnna/HiSSD, hissd_learner.py and hissd_agent.py.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional


def expectile_value_loss(
    total: Float[Tensor, "T B"],
    targets: Float[Tensor, "T-1 B"],
    transitions: Float[Tensor, "T B"],
    *,
    expectile: float,
) -> Float[Tensor, ""]:
    """mean |epsilon - 1(e < 0)| * (1 / sum m) sum e^2, e = m (V_tot(s_t) - y_t).

    The published code takes the mean of the weights over all T - 1 frames of the batch, padding
    too (there e = 0, weight epsilon), and multiplies it with the mean square: it does not weigh
    each error with its own weight, as expectile regression would. Source: `train_value`.
    """
    mask = transitions[:-1]
    error = (total[:-1] - targets) * mask
    weight = (expectile - (error < 0).float()).abs().mean()
    return weight * (error**2).sum() / mask.sum().clamp(min=1)


def planner_weight(
    value: Float[Tensor, "T B"],
    planned: Float[Tensor, "T B"],
    reward: Float[Tensor, "T B"],
    transitions: Float[Tensor, "T B"],
    *,
    gamma: float,
    scale: float,
    largest: float,
) -> Float[Tensor, ""]:
    """w = min(exp(scale * A), largest), A = (1 / sum m) sum m (r_t + gamma V'_{t+1} - V_t).

    `value` is V_tot of the observations, `planned` the target network's V_tot of the planner's
    skills. One number for the batch, no gradient; the end of an episode does not cut V'_{t+1} off.
    Source: `train_planner`.
    """
    mask = transitions[:-1]
    advantage = (reward[:-1] + gamma * planned[1:] - value[:-1]) * mask
    mean = advantage.sum() / mask.sum().clamp(min=1)
    return (scale * mean).exp().clamp(max=largest).detach()


def prediction_error(
    predicted: tuple[Float[Tensor, "rows n f"], Float[Tensor, "rows E g"]],
    actual: tuple[Float[Tensor, "rows n f"], Float[Tensor, "rows E g"]],
) -> Float[Tensor, " rows"]:
    """Mean square over allies and their features, plus the same over enemies, for each row.

    Source: hissd_agent.py, `MergeRec`, where rows are averaged as well.
    """
    pairs = zip(predicted, actual, strict=True)
    return torch.stack([((p - a) ** 2).mean((1, 2)) for p, a in pairs]).sum(0)


def skill_contrast(
    current: Float[Tensor, "b d"],
    positive: Float[Tensor, "b d"],
    negatives: Float[Tensor, "m d"],
    bilinear: Float[Tensor, "d d"],
) -> Float[Tensor, ""]:
    """Mean over the rows z of [current; negatives] of -log softmax_j(z W c_j)[0].

    c_j are the columns [positive; negatives], without gradient, as are the negatives among the
    rows. The published code names column 0 the right one for every row, that is the first
    episode's positive, where a contrastive loss would name each row's own; this is its loss.
    Source: `contrastive_loss`, `compute_logits`.
    """
    rows = torch.cat([current, negatives.detach()])
    columns = torch.cat([positive, negatives]).detach()
    logits = rows @ bilinear @ columns.T
    return functional.cross_entropy(
        logits, torch.zeros(rows.shape[0], dtype=torch.long).to(rows.device)
    )

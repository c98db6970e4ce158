"""The terms of behaviour cloning, one function for each equation.

Notation: T frames of B episodes, n agents, a actions; a row is one frame of one episode.
"""

import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor


def cross_entropy_cloning(
    q: Float[Tensor, "rows n a"],
    actions: Int[Tensor, "rows n"],
    weight: Float[Tensor, " rows"],
    *,
    steps: Float[Tensor, ""],
) -> Float[Tensor, ""]:
    """(1 / (n steps)) sum over rows and agents of weight * CE(softmax z_i, dataset action).

    `steps` is the number of valid steps of the batch; the published code divides by it also where
    it sums over padding (weight 1 on every row). Unavailable actions stay in the softmax, as there.
    """
    losses = action_cross_entropy(q, actions)
    return (losses * weight[:, None]).sum() / (steps * actions.shape[1])


def returns_to_go(reward: Float[Tensor, "T B"]) -> Float[Tensor, "T B"]:
    """R_t = sum of r_s over s >= t, undiscounted; what BC-r conditions on."""
    return reward.flip(0).cumsum(0).flip(0)


def action_cross_entropy(
    logits: Float[Tensor, "rows n a"], actions: Int[Tensor, "rows n"]
) -> Float[Tensor, "rows n"]:
    """-log softmax(z_i)[u_i] of each agent; unavailable actions stay in the softmax.

    Source: LAMDA-RL/ODIS, bc_learner.py, odis_learner.py and hissd_learner.py.
    """
    found = F.cross_entropy(logits.flatten(0, 1), actions.flatten(), reduction="none")
    return found.view(actions.shape)

"""The equations of TD3+BC, one function for each (arXiv 2106.06860; TD3: arXiv 1802.09477).

Notation: R transitions, n agents, j joints that an agent moves; pi is the actor, Q_1 and Q_2 are
the critics' mixed values of all agents' actions, a prime marks a target network.
"""

import torch
from jaxtyping import Float
from torch import Tensor


def smoothed_actions(
    actions: Float[Tensor, "*batch j"], noise: Float[Tensor, "*batch j"], *, clip: float
) -> Float[Tensor, "*batch j"]:
    """a~ = clip(a' + clip(noise, -c, c), -1, 1); no gradient (TD3, algorithm 1)."""
    return (actions + noise.clamp(-clip, clip)).clamp(-1, 1).detach()


def twin_targets(
    reward: Float[Tensor, " R"],
    terminated: Float[Tensor, " R"],
    following: Float[Tensor, "2 R"],
    *,
    gamma: float,
) -> Float[Tensor, " R"]:
    """y = r + gamma (1 - done) min(Q'_1, Q'_2)(s', a~); no gradient (TD3, algorithm 1)."""
    return (reward + gamma * (1 - terminated) * following.min(0).values).detach()


def twin_loss(totals: Float[Tensor, "2 R"], targets: Float[Tensor, " R"]) -> Float[Tensor, ""]:
    """(1 / R) sum over transitions and both critics of (Q_i(s, a) - y)^2 (TD3, algorithm 1)."""
    return (totals - targets).square().sum(0).mean()


def value_weight(values: Float[Tensor, " R"], *, alpha: float) -> Float[Tensor, ""]:
    """lambda = alpha / ((1 / R) sum |Q_1|); no gradient (TD3+BC, section 5).

    As in the published code, Q_1 is that of the actor's actions; the paper writes the dataset's.
    """
    return alpha / values.detach().abs().mean()


def cloning_error(
    actions: Float[Tensor, "R n j"], dataset: Float[Tensor, "R n j"]
) -> Float[Tensor, ""]:
    """Mean over transitions, agents and joints of (pi - a)^2 (TD3+BC, section 5)."""
    return (actions - dataset).square().mean()


def actor_loss(
    values: Float[Tensor, " R"], weight: Float[Tensor, ""], cloning: Float[Tensor, ""]
) -> Float[Tensor, ""]:
    """-lambda (1 / R) sum Q_1(s, pi(s)) + cloning error (TD3+BC, section 5, as a loss)."""
    return cloning - weight * values.mean()


@torch.no_grad()
def move_towards(target: Tensor, online: Tensor, *, tau: float) -> None:
    """theta' <- tau theta + (1 - tau) theta', in place (TD3, algorithm 1)."""
    target.lerp_(online, tau)

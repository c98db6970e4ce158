"""The losses of ODIS that no other method has, one function for each equation.

Notation: K skills, logits z_k of the encoder, n agents; a row is one frame of one episode.
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor


def relaxed_log_sample(logits: Float[Tensor, "rows n K"]) -> Float[Tensor, "rows n K"]:
    """log p, p = softmax(z + g), g ~ Gumbel(0, 1): a relaxed one-hot sample at temperature 1.

    Draws from torch's global generator. Source: LAMDA-RL/ODIS, odis_learner.py.
    """
    noise = -torch.empty_like(logits).exponential_().log()
    return (logits + noise).log_softmax(-1)


def skill_prior_loss(log_p: Float[Tensor, "rows n K"]) -> Float[Tensor, ""]:
    """L_prior = mean over rows, agents and skills of p_k (log p_k - log(1 / K)).

    1 / K times the divergence of the relaxed sample from the uniform prior: the published code
    takes the mean over skills too. Source: LAMDA-RL/ODIS, odis_learner.py (`enc_loss`).
    """
    return (log_p.exp() * (log_p + math.log(log_p.shape[-1]))).mean()


def skill_labels(logits: Float[Tensor, "rows n K"]) -> Int[Tensor, "rows n"]:
    """argmax_k z_k: the skill that the state encoder assigns to the dataset's joint action.

    Source: LAMDA-RL/ODIS, odis_learner.py (`label_action`).
    """
    return logits.argmax(-1)

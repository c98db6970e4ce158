"""Settings of RLRT and of the methods it is compared with."""

from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le
from lab_llm.training.config import TeacherSettings
from labrun import schema

Method = Literal["grpo", "rlsd", "following", "rlrt", "rlrt_all", "entropy_shaped", "sdpo"]


@schema
class RLRTConfig(TeacherSettings):
    """GRPO whose advantage is weighted, token by token, by what a teacher predicted."""

    credit: Method = "rlrt"
    """The token weight: grpo, none; rlrt, eq. 3 on correct rollouts; rlrt_all, eq. 3 on all;
    following, its inverse on correct rollouts; rlsd, its inverse on all (papers' names);
    entropy_shaped, no weight but a bonus where the policy is uncertain; sdpo, no policy gradient
    but the distance to the teacher."""
    lam: Annotated[float, Ge(0), Le(1)] = 0.5
    """lambda of eq. 4, share of the weighted advantage (arXiv 2605.10781: 0.5)."""
    eps_w: Annotated[float, Gt(0), Le(1)] = 1.0
    """Half-width of the weight's clip, eq. 4 (arXiv 2605.10781: 1.0 for base models, 0.5 for
    instruct, 0.2 for thinking-tuned ones)."""
    entropy_alpha: Annotated[float, Ge(0)] = 0.4
    """Scale of the entropy in the entropy-shaped advantage (arXiv 2506.14758: 0.4)."""
    entropy_kappa: Annotated[float, Gt(0)] = 2.0
    """The bonus is at most |A| / kappa, so that above 1 it turns no sign (arXiv 2506.14758: 2)."""

"""Settings of RLRT and of the methods it is compared with."""

from collections.abc import Mapping
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, Lt
from lab_llm.training.config import TeacherSettings
from labrun import schema

Method = Literal[
    "grpo",
    "rlsd",
    "following",
    "rlrt",
    "rlrt_all",
    "entropy_shaped",
    "iw_opd",
    "dasd",
    "sdpo",
]


@schema
class RLRTConfig(TeacherSettings):
    """GRPO whose advantage is weighted, token by token, by what a teacher predicted."""

    credit: Method = "rlrt"
    """How the teacher enters the loss (papers' names). grpo: not at all; rlrt, the token weight of
    eq. 3 on correct rollouts; rlrt_all, eq. 3 on all; following, its inverse on correct rollouts;
    rlsd, its inverse on all; entropy_shaped, no teacher but a bonus where the policy is uncertain;
    iw_opd, the teacher's log-ratio in place of the advantage; dasd, the advantage and that ratio,
    its sign by the policy's entropy; sdpo, the distance to the teacher (`distillation`)."""
    lam: Annotated[float, Ge(0), Le(1)] = 0.5
    """lambda of eq. 4, share of the weighted advantage (arXiv 2605.10781: 0.5)."""
    lam_warmup: Annotated[int, Ge(0)] = 0
    """Batches of rollouts over which lam rises from 0 (count; public RLSD settings: 0)."""
    lam_decay: Annotated[int, Ge(0)] = 0
    """Batches of rollouts, after the warm-up, over which lam falls to 0 (count; public RLSD
    settings: 60). 0: it does not fall."""
    eps_w: Annotated[float, Gt(0), Le(1)] = 1.0
    """Half-width of the weight's clip, eq. 4 (arXiv 2605.10781: 1.0 for base models, 0.5 for
    instruct, 0.2 for thinking-tuned ones)."""
    entropy_alpha: Annotated[float, Ge(0)] = 0.4
    """Scale of the entropy in the entropy-shaped advantage (arXiv 2506.14758: 0.4)."""
    entropy_kappa: Annotated[float, Gt(0)] = 2.0
    """The bonus is at most |A| / kappa, so that above 1 it turns no sign (arXiv 2506.14758: 2)."""
    iw_gamma: Annotated[float, Ge(0)] = 0.5
    """How much more a rollout's first token weighs than one after its whole discrepancy, in iw_opd
    (TRL's iw_opd_gamma: 0.5)."""
    dasd_beta: Annotated[float, Ge(0)] = 0.1
    """Weight of dasd's directional term beside A (ours; the paper's value is not known to us)."""
    dasd_rho: Annotated[float, Gt(0), Lt(1)] = 0.2
    """Share of a rollout's tokens, those of highest entropy, that dasd pushes away from the teacher
    (arXiv 2605.22263, second-hand: rho 0.20)."""


WEIGHTED: tuple[Method, ...] = ("rlsd", "following", "rlrt", "rlrt_all")
"""Methods whose advantage has the token weight of eq. 3 or its inverse."""
READERS: Mapping[str, tuple[Method, ...]] = {
    "lam": WEIGHTED,
    "lam_warmup": WEIGHTED,
    "lam_decay": WEIGHTED,
    "eps_w": WEIGHTED,
    "entropy_alpha": ("entropy_shaped",),
    "entropy_kappa": ("entropy_shaped",),
    "iw_gamma": ("iw_opd",),
    "dasd_beta": ("dasd",),
    "dasd_rho": ("dasd",),
}
"""Key -> the methods that read it; the others run alike whatever it says."""

"""Settings of the countdown data set."""

from typing import Annotated, Literal

from annotated_types import Ge
from labrun.schema import schema


@schema
class CountdownConfig:
    """Countdown: make a target from a few numbers with + and -, searching in words."""

    train_size: Annotated[int, Ge(1)] = 215
    """Training problems (count). Beyond the distinct ones (215 in_domain, 234 ood_large, 56
    ood_four) they come again with their numbers in another order."""
    train_family: Literal["in_domain", "ood_large", "ood_four"] = "in_domain"
    """The family that is trained on; the sets keep their names, whichever it is."""
    eval_split: Literal["evaluation", "validation", "tuning", "test"] = "evaluation"
    """What the scores are taken on. Choose settings on `validation` (45 problems in_domain, 156
    ood_large, 65 ood_four), report on `evaluation` (204, 385, 237). Or choose on
    `tuning`, which is larger: validation and half of evaluation (147, 349, 184); then report on
    `test`, the other half (102, 192, 118)."""
    eval_size: Annotated[int, Ge(1)] | None = 200
    """Problems in each of the sets in_domain, ood_large and ood_four (count); all are distinct, so
    it cannot exceed what the smallest set holds. None: all of each."""
    score_seen: bool = False
    """Score the training problems too, as a set `seen`: the distinct ones, the first `eval_size`
    of them."""
    seed: Annotated[int, Ge(0)] = 0
    """Chooses the problems and the order of their numbers. It is not the run's seed: runs that
    differ in that one train and are scored on the same problems."""

"""Settings of the countdown data set."""

from typing import Annotated

from annotated_types import Ge
from labrun.schema import schema


@schema
class CountdownConfig:
    """Countdown: make a target from a few numbers with + and -, searching in words."""

    train_size: Annotated[int, Ge(1)] = 215
    """Training problems, in-domain (count). Beyond the 215 distinct ones they come again
    with their numbers in another order."""
    eval_size: Annotated[int, Ge(1)] = 200
    """Problems in each of the evaluation sets in_domain, ood_large and ood_four (count); all are
    distinct, so it cannot exceed what the smallest set holds."""
    seed: Annotated[int, Ge(0)] = 0
    """Chooses the problems and the order of their numbers. It is not the run's seed: runs that
    differ in that one train and are scored on the same problems."""

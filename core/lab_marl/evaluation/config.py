"""Settings of the evaluation by rollout."""

from typing import Annotated

from annotated_types import Ge
from labrun import schema


@schema
class RolloutConfig:
    """Play every test task with the greedy policy."""

    episodes: Annotated[int, Ge(0)] = 32
    """Episodes of each test task (published: 32). 0: no rollout, for machines without the
    environment (a game that is not installed)."""
    num_envs: Annotated[int, Ge(1)] = 32
    """Copies that step together. Another value plays other episodes."""
    figures: bool = True
    """Draw learning curves, an attention map and one episode after each evaluation but the first
    (into the run's artifacts)."""

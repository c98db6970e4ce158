"""Settings of TD3+BC, the method for continuous tasks."""

from typing import Annotated

from annotated_types import Ge, Gt, Le, Lt
from lab_marl.training.config import OfflineSettings
from labrun import schema

from lab_stairs.config import MixerConfig, NetworkConfig


@schema
class TD3BCConfig(OfflineSettings):
    """TD3+BC (arXiv 2106.06860) with STAIRS-Former's networks as actor and critics.

    "Published" means TD3+BC's paper, or TD3's (arXiv 1802.09477) where it says nothing; both are
    about one agent without memory.
    """

    learning_rate: Annotated[float, Gt(0)] = 3e-4
    """Adam's rate, of the actor and of the critics (published: 3e-4)."""
    network: NetworkConfig = NetworkConfig()
    """The network of the actor and, with weights of their own, of both critics."""
    mixer: MixerConfig = MixerConfig()
    """The mixer of each critic."""
    token_dropout: Annotated[float, Ge(0), Lt(1)] = 0.1
    """Probability with which a token of a joint that the agent does not move is dropped from the
    actor's input in training (STAIRS-Former's, published: 0.1)."""
    chunk: Annotated[int, Ge(0)] = 20
    """Transitions that an update reads of each episode, from a random one on, with histories that
    begin there at 0. 0: whole episodes. With batch_size episodes they make up the batch
    (published: 256 single transitions)."""
    alpha: Annotated[float, Ge(0)] = 2.5
    """Weight of the value against cloning, in units of 1 / mean |Q| (published: 2.5). 0 leaves
    behaviour cloning alone: no critic is trained, and the actor at every step. So half of its
    max_steps train the actor as often as policy_delay=2 does."""
    policy_delay: Annotated[int, Ge(1)] = 2
    """Optimizer steps of the critics, counted over all tasks, for each of the actor
    (published: 2)."""
    target_update_every: Annotated[int, Ge(1)] = 2
    """Optimizer steps, counted over all tasks, between updates of the target networks
    (published: 2, together with the actor)."""
    tau: Annotated[float, Gt(0), Le(1)] = 0.005
    """Share of the trained weights in an update of the target networks (published: 0.005); 1 copies
    them. Q approaches its value by tau (1 - gamma) / target_update_every an optimizer step: half
    way after about 28,000 steps with the defaults (published: 1,000,000 steps)."""
    smoothing_noise: Annotated[float, Ge(0)] = 0.2
    """Standard deviation of the noise on the target actor's actions, which lie in [-1, 1]
    (published: 0.2)."""
    smoothing_clip: Annotated[float, Ge(0)] = 0.5
    """Size beyond which that noise is cut off (published: 0.5)."""

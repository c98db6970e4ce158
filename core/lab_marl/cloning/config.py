"""Settings of behaviour cloning."""

from typing import Literal

from labrun import schema

from lab_marl.networks.config import Mask, TransformerConfig
from lab_marl.training.config import OfflineSettings


@schema
class BCConfig(OfflineSettings):
    """Behaviour cloning with a transformer: BC-t, or BC-r with the return to go as an input."""

    transformer: TransformerConfig = TransformerConfig()
    """The agents' network."""
    condition: Literal["none", "return"] = "none"
    """What the own token holds besides the observation: nothing (BC-t), or the return to go
    (BC-r)."""
    target_return: float | None = None
    """BC-r: return that the policy asks for at every step (published: 20, SMAC's largest). Not
    given: the largest return among the episodes trained on so far."""
    bc_mask: Mask = "published"
    """Steps of the cloning term: all, padding and terminal frames too, as the published code
    sums it, or those with a transition only."""

"""Settings of a method that is one loss."""

from labrun import schema

from lab_marl.networks.config import TransformerConfig
from lab_marl.training.config import OfflineSettings


@schema
class LossSettings(OfflineSettings):
    """The loop of every offline method, and the network that the loss trains."""

    transformer: TransformerConfig = TransformerConfig()
    """The agents' network; it is that of behaviour cloning."""

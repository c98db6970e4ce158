"""An offline multi-agent method in one call: its settings and its loss, or its learner."""

from lab_marl.method.config import LossSettings
from lab_marl.method.description import offline_plugin
from lab_marl.method.transitions import transitions_of

__all__ = ["LossSettings", "offline_plugin", "transitions_of"]

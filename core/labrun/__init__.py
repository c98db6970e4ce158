"""labrun: one lab for training methods."""

from labrun.contract import (
    API_VERSION,
    Component,
    Dataset,
    Evaluator,
    PluginInfo,
    Trainer,
    TrainResult,
    hookimpl,
)
from labrun.errors import DivergedError, LabError, PreemptedError, unknown
from labrun.plan import Plan, Setup
from labrun.schema import schema
from labrun.score import Score

__version__ = "0.1.0"
__all__ = [
    "API_VERSION",
    "Component",
    "Dataset",
    "DivergedError",
    "Evaluator",
    "LabError",
    "Plan",
    "PluginInfo",
    "PreemptedError",
    "Score",
    "Setup",
    "TrainResult",
    "Trainer",
    "hookimpl",
    "schema",
    "unknown",
]

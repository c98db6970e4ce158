"""labrun: one lab for training methods."""

import importlib
from types import ModuleType
from typing import TYPE_CHECKING, Any

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
from labrun.plan import Continues, Plan, Setup
from labrun.schema import schema
from labrun.score import Score

if TYPE_CHECKING:
    from labrun.api import Comparison, Runs, compare, run, runs

__version__ = "0.1.0"
__all__ = [
    "API_VERSION",
    "Comparison",
    "Component",
    "Continues",
    "Dataset",
    "DivergedError",
    "Evaluator",
    "LabError",
    "Plan",
    "PluginInfo",
    "PreemptedError",
    "Runs",
    "Score",
    "Setup",
    "TrainResult",
    "Trainer",
    "compare",
    "hookimpl",
    "run",
    "runs",
    "schema",
    "unknown",
]

_IN_API = ("Comparison", "Runs", "compare", "run")


def __getattr__(name: str) -> Any:
    """What notebooks use is imported when it is asked for: `import labrun` stays light."""
    if name in _IN_API:
        from labrun import api

        return getattr(api, name)
    raise AttributeError(f"module 'labrun' has no attribute {name!r}")


class _Room(ModuleType):
    """The room `labrun.runs`, which is also the function of this name: an import of a module below
    it puts the room in the function's place."""

    def __call__(self, *words: Any, **options: Any) -> Any:
        """See `labrun.api.runs`."""
        from labrun import api

        return api.runs(*words, **options)


importlib.import_module("labrun.runs").__class__ = _Room

"""labrun: one lab for training methods."""

import importlib
from types import ModuleType
from typing import TYPE_CHECKING, Any

from labrun.errors import DivergedError, LabError, PreemptedError, unknown
from labrun.schema import schema

if TYPE_CHECKING:
    from labrun.api import Comparison, Runs, compare, run, runs
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
    from labrun.plan import Continues, Plan, Setup
    from labrun.score import Score

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

_OF = {
    "api": ("Comparison", "Runs", "compare", "run"),
    "contract": (
        "API_VERSION",
        "Component",
        "Dataset",
        "Evaluator",
        "PluginInfo",
        "TrainResult",
        "Trainer",
        "hookimpl",
    ),
    "plan": ("Continues", "Plan", "Setup"),
    "score": ("Score",),
}
"""Module -> the names that are imported from it when they are asked for: a start stays light."""
_MODULE = {name: module for module, names in _OF.items() for name in names}


def __getattr__(name: str) -> Any:
    """A name of another module, which is imported now."""
    if name in _MODULE:
        return getattr(importlib.import_module(f"labrun.{_MODULE[name]}"), name)
    raise AttributeError(f"module 'labrun' has no attribute {name!r}")


class _Room(ModuleType):
    """The room `labrun.runs`, which is also the function of this name: an import of a module below
    it puts the room in the function's place."""

    def __call__(self, *words: Any, **options: Any) -> Any:
        """See `labrun.api.runs`."""
        from labrun import api

        return api.runs(*words, **options)


importlib.import_module("labrun.runs").__class__ = _Room

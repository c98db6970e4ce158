"""A start without packages that transformers and TRL import where they are installed.

scikit-learn comes with MLflow, SciPy with the tables of results. transformers imports the one for
assisted decoding and the other for losses of object detection, and TRL imports MLflow for its own
log; nothing here uses any of them. Together they take a quarter of a start.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

ASKS: Mapping[str, tuple[str, str]] = {
    "transformers.generation.candidate_generator": ("sklearn", "is_sklearn_available"),
    "transformers.utils.chat_template_utils": ("scipy", "is_scipy_available"),
}
"""Module -> a package to hide, and the question that is asked just before the module is imported:
before its first use, and late enough for the question to be there."""


class Without(MetaPathFinder):
    """Finds nothing. Before a module of `ASKS` is imported, transformers notes: no such package."""

    def __init__(self) -> None:
        self.waiting = dict(ASKS)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname in self.waiting:
            _ask_while_hidden(*self.waiting.pop(fullname))
        if not self.waiting and self in sys.meta_path:
            sys.meta_path.remove(self)
        return None


def _ask_while_hidden(package: str, question: str) -> None:
    """transformers asks once and keeps the answer; other code imports the package as ever."""
    from transformers.utils import import_utils

    if package in sys.modules:
        return
    sys.modules[package] = None  # type: ignore[assignment]  # Python's mark of no such package
    try:
        getattr(import_utils, question)()
    finally:
        del sys.modules[package]


def begin() -> None:
    """Called once, before transformers is imported."""
    os.environ.setdefault("DISABLE_MLFLOW_INTEGRATION", "TRUE")
    sys.meta_path.insert(0, Without())

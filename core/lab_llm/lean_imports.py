"""A start without packages that transformers and TRL import where they are installed.

scikit-learn comes with MLflow. transformers imports it for assisted decoding and TRL imports MLflow
for its own log; nothing here uses either. Together they take a fifth of a start.
"""

import os
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

ASKS = "transformers.generation.candidate_generator"
"""The module that imports scikit-learn where transformers says that it is installed."""


class WithoutSklearn(MetaPathFinder):
    """Finds nothing. Before `ASKS` is imported, transformers notes: no scikit-learn."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname == ASKS:
            sys.meta_path.remove(self)
            _ask_while_hidden()
        return None


def _ask_while_hidden() -> None:
    """transformers asks once and keeps the answer; other code imports scikit-learn as ever."""
    from transformers.utils.import_utils import is_sklearn_available

    if "sklearn" in sys.modules:
        return
    sys.modules["sklearn"] = None  # type: ignore[assignment]  # Python's mark of no such package
    try:
        is_sklearn_available()
    finally:
        del sys.modules["sklearn"]


def begin() -> None:
    """Called once, before transformers is imported."""
    os.environ.setdefault("DISABLE_MLFLOW_INTEGRATION", "TRUE")
    sys.meta_path.insert(0, WithoutSklearn())

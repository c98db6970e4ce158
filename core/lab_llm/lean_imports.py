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

ASKS: Mapping[str, str] = {"sklearn": "is_sklearn_available", "scipy": "is_scipy_available"}
"""A package to hide -> the question about it in `ASKED`."""
ASKED = "transformers.utils.import_utils"


class Without(MetaPathFinder):
    """Finds nothing. Once the questions are there, transformers notes: no such packages.

    That is at the first import from transformers after that of `ASKED`, so before any use.
    """

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname.startswith("transformers.") and _is_loaded(ASKED) and self in sys.meta_path:
            sys.meta_path.remove(self)
            for package, question in ASKS.items():
                _ask_while_hidden(package, question)
        return None


def _is_loaded(module: str) -> bool:
    spec = getattr(sys.modules.get(module), "__spec__", None)
    return spec is not None and not getattr(spec, "_initializing", False)


def _ask_while_hidden(package: str, question: str) -> None:
    """transformers asks once and keeps the answer; other code imports the package as ever."""
    if package in sys.modules:
        return
    sys.modules[package] = None  # type: ignore[assignment]  # Python's mark of no such package
    try:
        getattr(sys.modules[ASKED], question)()
    finally:
        del sys.modules[package]


def begin() -> None:
    """Called once, before transformers is imported."""
    os.environ.setdefault("DISABLE_MLFLOW_INTEGRATION", "TRUE")
    sys.meta_path.insert(0, Without())

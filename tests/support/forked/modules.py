"""Which modules of ours a fork has: a test process those of the tests, a job its own."""

import gc
import importlib
import os
import sys
import sysconfig
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from forked.start import OURS

OWN = (
    "lab_epistemic.plugin",
    "lab_epistemic.trainer",
    "lab_llm.datasets.countdown",
    "lab_llm.evaluation.accuracy",
    "lab_llm.plugin",
    "lab_llm.policy.tiny_model",
    "lab_llm.training.trainer",
    "lab_llm.training.warm_start.config",
    "lab_marl.evaluation.rollouts",
    "lab_marl.plugin",
    "lab_marl.training.loop",
    "lab_rlrt.analysis.config",
    "lab_rlrt.methods",
    "lab_rlrt.plugin",
    "lab_rlrt.trainer",
    "lab_stairs.learner",
    "lab_stairs.methods",
    "lab_stairs.plugin",
    "labrun.attempts.provenance",
    *("labrun.cli." + name for name in ("app", "bench", "completion", "listing", "main")),
    *("labrun.cli." + name for name in ("packages", "reports", "results", "running", "runs")),
    "labrun.config.components",
    "labrun.config.word_files",
    "labrun.launch.display",
    "labrun.results.run_diff",
    "labrun.runs.context",
    "labrun.runs.filters",
    "labrun.runs.packed",
    "labrun.runs.selection",
    "labrun.launch.session",
    "labrun.results.figures.curves",
    "labrun.results.report",
    "labrun.runs.resume_point",
)
"""What jobs and commands import besides libraries."""
INSTALLED = tuple(sysconfig.get_path(name) + os.sep for name in ("stdlib", "purelib", "platlib"))

_of_jobs: dict[str, ModuleType] = {}
_of_tests: set[str] = set()
_finders: list[Any] = []
"""Those of a job: the tests add some that check shapes."""


def take_ours() -> dict[str, ModuleType]:
    """Our modules that are imported; they are so no more."""
    names = [name for name in sys.modules if name.partition(".")[0] in OURS]
    return {name: sys.modules.pop(name) for name in names}


def import_tests(words: Sequence[str]) -> None:
    """Import the modules of the tests that pytest collects by these words.

    Test processes collect again and find them imported. Jobs must not have them: they check the
    shapes of what they import, and jobs run without.
    """
    import pytest

    for name in OWN:
        importlib.import_module(name)
    _of_jobs.update(take_ours())
    _finders.extend(sys.meta_path)
    before = {*sys.modules}
    pytest.main([*words, "--collect-only", "-qq"], [Forget()])
    gc.disable()
    new = {*sys.modules} - before
    packages = {name.partition(".")[0] for name in new if _is_ours(sys.modules[name])}
    _of_tests.update(name for name in new if name.partition(".")[0] in packages)


def _is_ours(module: ModuleType) -> bool:
    file = vars(module).get("__file__")
    return bool(file) and not file.startswith(INSTALLED)


def be_a_job() -> None:
    """Have the modules of a job in place of those of the tests."""
    for name in _of_tests:
        sys.modules.pop(name, None)
    sys.modules.update(_of_jobs)
    sys.meta_path[:] = _finders


class Forget:
    """A plugin: what fails in its import must fail in each test process, so it is not imported."""

    def pytest_collectreport(self, report) -> None:
        if report.outcome == "passed":
            return
        path = os.path.abspath(report.fspath)
        for name, module in [*sys.modules.items()]:
            if getattr(module, "__file__", None) == path:
                del sys.modules[name]

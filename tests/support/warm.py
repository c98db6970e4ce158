"""Processes that start with torch and TRL imported, and what they do."""

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from pathlib import Path

from forked import start

CALL = Path(__file__).with_name("call.py")


def exit_code(work: Callable[..., None], *words: str) -> int:
    """How `work(*words)` ends in a process of its own; the negative number of a signal.

    The process has this one's variables, and none of its memory.
    """
    return run([str(CALL), f"{work.__module__}:{work.__qualname__}", *words])


def run(words: Sequence[str]) -> int:
    """How `python *words` ends."""
    start.have_a_server()
    return subprocess.run([sys.executable, *words]).returncode


def lab(out: str, *words: str) -> None:
    """What `lab *words` does; what it prints goes into the file `out`."""
    from labrun.cli import main

    sys.argv = ["lab", *words]
    with open(out, "w") as file, redirect_stdout(file):
        main.main()


def fit(*words: str) -> None:
    """What the worker of `lab run *words` does, in a new run of LABRUN_HOME."""
    from labrun import worker
    from labrun.config.experiments import compose
    from labrun.runs import run_dir

    run = run_dir.create(compose(list(words)), root=run_dir.home())
    sys.exit(worker.main([str(run.path)]))


def own_tests(out: str, *paths: str) -> None:
    """What `pytest *paths` does; what it prints goes into the file `out`."""
    import pytest

    root = os.path.dirname(paths[0])
    with open(out, "w") as file, redirect_stdout(file):
        sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", f"--rootdir={root}", *paths]))

"""Fixtures of the whole set; shapes are checked while it runs."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

install_import_hook(["lab_llm", "lab_rlrt"], "shape_check.checked")

EXAMPLE = Path(__file__).with_name("example_plugin")
Lab = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """An empty LABRUN_HOME, with leases of its own."""
    path = tmp_path / "home"
    monkeypatch.setenv("LABRUN_HOME", str(path))
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    return path


@pytest.fixture
def lab(home) -> Lab:
    """`lab(*words)` runs the command line in a process of its own."""

    def run(*words: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "labrun.cli", *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=120)

    return run


@pytest.fixture(scope="session")
def example_folder(tmp_path_factory) -> Path:
    """A folder into which pip installed the example plugin."""
    target = tmp_path_factory.mktemp("installed")
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    source = tmp_path_factory.mktemp("source") / "example_plugin"
    shutil.copytree(EXAMPLE, source)
    subprocess.run(
        [*install, "--no-build-isolation", "--target", str(target), str(source)], check=True
    )
    return target


@pytest.fixture
def example(example_folder, monkeypatch):
    """The example plugin, installed for this process and those that it starts."""
    from labrun import plugins

    monkeypatch.syspath_prepend(example_folder)
    search = os.pathsep.join([str(example_folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    monkeypatch.setenv("PYTHONPATH", search)
    yield example_folder
    plugins.load.cache_clear()

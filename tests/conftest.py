"""Fixtures of the whole set; shapes are checked while it runs."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

LANGUAGE = [
    "lab_llm.sampling.scorer",
    "lab_llm.training.advantages",
    "lab_llm.training.distillation",
    "lab_llm.training.rollouts",
    "lab_llm.training.sequences",
    "lab_llm.training.surrogate",
    "lab_epistemic",
    "lab_rlrt",
]
AGENTS = [
    "lab_marl.training.entity_features",
    "lab_marl.cloning.objectives",
    "lab_marl.networks.embedding",
    "lab_marl.networks.transformer",
    "lab_stairs.objectives",
    "lab_stairs.mixer",
    "lab_stairs.network",
    "lab_stairs.td3_bc.objectives",
    "lab_stairs.baselines.objectives",
    "lab_stairs.baselines.odis.objectives",
    "lab_stairs.baselines.hissd.objectives",
]
install_import_hook([*LANGUAGE, *AGENTS], "shape_check.checked")

EXAMPLE = Path(__file__).with_name("example_plugin")
Completed = subprocess.CompletedProcess[str]


@pytest.fixture(scope="session", autouse=True)
def checkpoint_key(tmp_path_factory) -> None:
    """A key for the tests' checkpoints, beside the user's own."""
    os.environ["LABRUN_KEY"] = str(tmp_path_factory.mktemp("key") / "checkpoint.key")


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """A LABRUN_HOME that does not exist yet, with leases of its own."""
    path = tmp_path / "home"
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("LABRUN_HOME", str(path))
    monkeypatch.setenv("TMPDIR", str(scratch))
    monkeypatch.setenv("LABRUN_LEASES", str(tmp_path / "leases"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return path


@pytest.fixture
def lab(home) -> Callable[..., Completed]:
    """`lab(*words)` runs the command line in a process of its own, on `home`."""

    def run(*words: str) -> Completed:
        command = [sys.executable, "-m", "labrun.cli", *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=240)

    return run


@pytest.fixture(scope="session")
def example_folder(tmp_path_factory) -> Path:
    """A folder into which pip installed the example plugin, as a user would."""
    source = tmp_path_factory.mktemp("source") / "example_plugin"
    shutil.copytree(EXAMPLE, source)
    target = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    how = ["--no-build-isolation", "--disable-pip-version-check", "--target", str(target)]
    subprocess.run([*pip, *how, str(source)], check=True)
    return target


@pytest.fixture
def example(example_folder, monkeypatch):
    """The example plugin, for this process and those that it starts."""
    from labrun.plugins import discovery as plugins

    monkeypatch.syspath_prepend(example_folder)
    search = [str(example_folder), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(search))
    yield example_folder
    plugins.load.cache_clear()


@pytest.fixture(scope="session")
def swept(example_folder, tmp_path_factory) -> Path:
    """The home of one sweep of the example plugin: two methods, three seeds; read it only."""
    root = tmp_path_factory.mktemp("swept")
    environment = {
        **os.environ,
        "LABRUN_HOME": str(root / "home"),
        "TMPDIR": str(root),
        "LABRUN_LEASES": str(root / "leases"),
        "PYTHONPATH": os.pathsep.join([str(example_folder), *sys.path]),
    }
    sweep = ["plugin=example", "method=plain,momentum", "seed=0,1,2", "group=sweep"]
    command = [sys.executable, "-m", "labrun.cli", "run", "-m", *sweep]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return root / "home"

"""Fixtures of the whole set; shapes are checked while it runs."""

import gc
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from filelock import FileLock
from jaxtyping import install_import_hook
from labrun import worker
from labrun.cli import main as cli
from labrun.config.experiments import compose
from labrun.runs import run_dir
from labrun.runs.run_dir import RunDir
from labrun.system import processes

if TYPE_CHECKING:
    from lanes import Lanes
    from xdist.remote import Producer

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

HERE = Path(__file__).parent
EXAMPLE = HERE / "example_plugin"
Completed = subprocess.CompletedProcess[str]
PATIENCE_S = 900.0
"""For a command that hangs; one beside other work may take minutes."""
WAITING = (
    "slurm/test_slurm_campaign.py",
    "ray/test_ray_jobs.py",
    "slurm/test_slurm_jobs.py",
    "slurm/test_slurm_ranks.py",
    "browser/test_training_view.py",
    "labrun/launch/test_stalled_terminal.py",
    "labrun/launch/test_detached.py",
    "labrun/launch/test_endings.py",
)
"""Files whose processes sleep more than they compute, the longest first. Half of several test
processes begin with these. Ray comes early: it gives up where its agents are slow."""
COMPUTING = (
    "faults/test_campaign.py",
    "contract/test_every_plugin.py",
    "labrun/launch/test_command_trouble.py",
    "docs/test_docs.py",
    "faults/test_exact_resume.py",
    "lab_llm/training/test_grpo.py",
    "lab_llm/distributed/test_ranks.py",
    "labrun/suites/test_published.py",
    "labrun/plugins/test_authors_mistakes.py",
    "labrun/launch/test_executors.py",
    "benchmarks/test_gpu.py",
    "lab_llm/training/test_self_distillation.py",
    "lab_llm/training/test_trl_equality.py",
    "docs/test_site.py",
    "docs/test_tutorials.py",
    "lab_llm/grading/test_math_pairs.py",
    "lab_llm/grading/test_gym_rule.py",
    "lab_llm/evaluation/test_evaluator.py",
    "lab_epistemic/sft/test_sft_trainer.py",
    "lab_epistemic/richness/test_richness.py",
    "lab_llm/grading/test_math_time.py",
    "labrun/cli/test_bench.py",
    "lab_stairs/td3_bc/test_td3_bc.py",
    "lab_stairs/test_kernel_unroll.py",
)
"""The other files that compute most, the longest first, with which the other half begin: none is
alone at the end."""


def has_test_processes(config: pytest.Config) -> bool:
    """Whether this process starts others that run the tests."""
    several = getattr(config.option, "numprocesses", None)
    return bool(several) and not hasattr(config, "workerinput")


def pytest_configure(config: pytest.Config) -> None:
    """Test processes are forks of one that has imported the tests, and so are their jobs.

    No search for garbage until the tests are collected. Imports make none, and millions of objects
    stay: to search them again and again took a third of the time of a test that composes or trains.
    """
    gc.disable()
    if has_test_processes(config):
        from forked import start

        start.have_a_server(as_collected(config))


def as_collected(config: pytest.Config) -> list[str]:
    """The words by which pytest collects the same files as in this process."""
    left_out = [f"--ignore={path}" for path in config.getoption("ignore") or ()]
    where = ["-c", str(config.inipath), f"--rootdir={config.rootpath}"]
    return [*where, "-p", "no:cacheprovider", *left_out, *config.args]


def pytest_unconfigure(config: pytest.Config) -> None:
    from forked import start

    start.end_the_server()
    if has_test_processes(config):
        from lanes import busy

        print(busy())


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if hasattr(config, "workerinput"):  # one of several test processes
        first = [*WAITING, *COMPUTING]
        places = {HERE / name: place for place, name in enumerate(first)}
        assert [path for path in places if not path.exists()] == []
        items.sort(key=lambda item: places.get(item.path, len(places)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: "Producer") -> "Lanes | None":
    if config.getvalue("dist") != "loadfile":
        return None
    from lanes import Lanes

    waiting = {(HERE / name).relative_to(config.rootpath).as_posix() for name in WAITING}
    return Lanes(config, log, waiting)


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session", autouse=True)
def own_places(tmp_path_factory) -> None:
    """A checkpoint key, leases and scratch of this test process; no defaults of the user's."""
    root = tmp_path_factory.mktemp("own")
    os.environ["LABRUN_KEY"] = str(root / "checkpoint.key")
    os.environ["LABRUN_LEASES"] = str(root / "leases")
    os.environ["LABRUN_DEFAULTS"] = ""
    os.environ["TMPDIR"] = str(root)


@pytest.fixture(scope="session")
def once(tmp_path_factory) -> Callable[..., Path]:
    """`once(name, make)`: a folder that the first test process to ask fills by `make(folder)`."""
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent

    def filled(name: str, make: Callable[[Path], object]) -> Path:
        folder, mark = root / name, root / f"{name}.made"
        with FileLock(root / f"{name}.lock"):
            if not mark.exists():
                folder.mkdir()
                make(folder)
                mark.touch()
        return folder

    return filled


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
        return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)

    return run


@pytest.fixture
def lab_here(home, capsys, monkeypatch) -> Callable[..., Completed]:
    """`lab_here(*words)` runs a command in this process, which has torch; its jobs have theirs."""

    def run(*words: str) -> Completed:
        monkeypatch.setattr(sys, "argv", [cli.__file__, *words])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return Completed(words, int(ended.value.code or 0), *capsys.readouterr())

    return run


@pytest.fixture
def fit_here(home) -> Iterator[Callable[..., tuple[int, RunDir]]]:
    """`fit_here(*words)`: the exit code of a worker in this process, and its new run."""
    handlers = {number: signal.getsignal(number) for number in processes.STOPS}

    def fit(*words: str) -> tuple[int, RunDir]:
        run = run_dir.create(compose(list(words)), root=home)
        return worker.main([str(run.path)]), run

    yield fit
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session")
def example_folder(once, tmp_path_factory) -> Path:
    """A folder into which pip installed the example plugin, as a user would."""

    def install(target: Path) -> None:
        source = tmp_path_factory.mktemp("source") / "example_plugin"
        shutil.copytree(EXAMPLE, source)
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
        how = ["--no-build-isolation", "--disable-pip-version-check", "--target", str(target)]
        subprocess.run([*pip, *how, str(source)], check=True)

    return once("example", install)


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
def swept(once, example_folder, tmp_path_factory) -> Path:
    """A home after one sweep of the example plugin: two methods, three seeds; read it only."""

    def sweep(root: Path) -> None:
        environment = {
            **os.environ,
            "LABRUN_HOME": str(root / "home"),
            "TMPDIR": str(root),
            "LABRUN_LEASES": str(root / "leases"),
            "PYTHONPATH": os.pathsep.join([str(example_folder), *sys.path]),
        }
        words = ["plugin=example", "method=plain,momentum", "seed=0,1,2", "group=sweep"]
        command = [sys.executable, "-m", "labrun.cli", "run", "-m", *words]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    home = tmp_path_factory.mktemp("swept") / "home"
    return shutil.copytree(once("swept", sweep) / "home", home)

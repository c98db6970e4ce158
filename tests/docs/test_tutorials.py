"""The commands of the tutorial and the how-tos work as they are written, and print what is shown.

Where a command trains, the test trains the same arms for one step on few problems, in this process.
"""

import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from lab_marl import environments
from lab_marl.episodes.hdf5_writer import write
from lab_marl.training import loop
from labrun import worker
from labrun.config.components import build
from labrun.config.experiments import compose
from labrun.config.words import expand
from labrun.plugins import discovery as plugins
from labrun.runs import run_dir
from labrun.system import processes
from stairs_cases import random_episodes

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "docs" / "tutorial.md", *sorted((ROOT / "docs" / "how-to").glob("*.md"))]
TINY = ROOT / "core" / "lab_llm" / "data" / "tiny"
FEW = ("max_steps=1", "prompts_per_step=2", "num_generations=2", "eval_size=2", "num_samples=1")
FEW = (*FEW, "max_completion_length=8", "max_new_tokens=8")
NOT_RUN = ("git clone ", "cd labrun", "python3 -m venv", "source ", "pip install ", "pytest ")
ENTRY = {
    "entry_points.txt": "[labrun]\nmy_method = lab_my_method\n",
    "METADATA": "Name: lab-my-method\nVersion: 0.1.0\n",
}
SAID = {"table": "first", "model.name=runs/RUN_ID/artifacts/model": "model.name=my_model"}
SAID |= {"RUN_ID": "stairs-"}
PAGE_NEEDS = {"smax": "jaxmarl"}
"""Page -> the package without which its commands cannot run."""
pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


def blocks(page: Path) -> list[tuple[str, str]]:
    """(language, text) of every fenced block, in order."""
    return re.findall(r"^```(\w+)\n(.*?)^```", page.read_text(), flags=re.S | re.M)


def commands(page: Path) -> list[tuple[list[str], str]]:
    """(words, output that is shown below it or nothing) of every `lab` command of a page."""
    found = []
    for (language, text), after in zip(blocks(page), [*blocks(page)[1:], ("", "")], strict=True):
        for line in text.splitlines() if language == "bash" else []:
            if line.startswith("lab "):
                found.append([line.split()[1:], ""])
        if language == "bash" and after[0] == "text":
            found[-1][1] = after[1]
    return [(words, shown) for words, shown in found]


def shapes(text: str) -> set[str]:
    """The first two words of every line, numbers aside."""
    lines = (re.sub(r"\d+", "0", line).split()[:2] for line in text.splitlines())
    return {" ".join(words) for words in lines if words and words != ["..."]}


@pytest.fixture(scope="module")
def trained(once, tmp_path_factory) -> Path:
    """A home with the runs of the tutorial, each of one step."""

    def train(home: Path) -> None:
        (words,) = [w for w, _ in commands(PAGES[0]) if w[:2] == ["run", "-m"]]
        handlers = {number: signal.getsignal(number) for number in processes.STOPS}
        for arm in expand([w for w in words[2:] if not w.startswith("max_steps=")]):
            run = run_dir.create(compose([*arm, *FEW]), root=home)
            assert worker.main([str(run.path)]) == 0
        for number, handler in handlers.items():
            signal.signal(number, handler)

    home = tmp_path_factory.mktemp("trained") / "home"
    return shutil.copytree(once("tutorial", train), home)


@pytest.fixture
def place(tmp_path, monkeypatch, home, trained) -> Path:
    """The folder of a user who has the files and the runs of the pages."""
    folder = tmp_path / "user"
    folder.mkdir()
    monkeypatch.chdir(folder)
    shutil.copytree(trained, home)
    shutil.copytree(TINY, "my_model")
    leave_a_policy(home)
    for task in ("cn-2", "cn-4"):
        layout = environments.make(task, num_envs=1).layout
        part = Path("DATA", task, "medium", "1", "part_0.h5")
        part.parent.mkdir(parents=True)
        write(part, random_episodes(layout, [3, 5] * 16), layout, attributes={})
    for page in PAGES:
        for name, text in re.findall(
            r"`([\w./-]+)`:\n\n```json\n(.*?)^```", page.read_text(), flags=re.S | re.M
        ):
            Path(name).parent.mkdir(exist_ok=True)
            Path(name).write_text(text)
    return folder


def leave_a_policy(home: Path) -> None:
    """A run of an offline method that is done, without its training."""
    run = run_dir.create(
        compose(["plugin=stairs", "method=bc_t", "transformer.width=8"]), root=home
    )
    tasks = [environments.layout_of(task) for task in ("cn-2", "cn-4")]
    trained = build(run.experiment()).trainer.learner(tasks, torch.device("cpu"))
    loop.save(trained, 1, run.artifacts)
    run.write_status(state="done")


@pytest.fixture
def new_package(place, monkeypatch) -> Callable[[], None]:
    """Call it once `lab new` has written my_method: pip's part, without pip."""

    def install() -> None:
        for name, text in ENTRY.items():
            folder = Path("my_method", "lab_my_method-0.1.0.dist-info")
            folder.mkdir(exist_ok=True)
            (folder / name).write_text(text)
        monkeypatch.syspath_prepend(str(place / "my_method"))

    yield install
    plugins.load.cache_clear()


@pages
def test_commands_of_other_programs_are_few(page):
    lines = [line for kind, text in blocks(page) if kind == "bash" for line in text.splitlines()]
    others = [line for line in lines if not line.startswith(("lab ", "export LABRUN_HOME="))]
    assert [line for line in others if not line.startswith(NOT_RUN)] == []


@pages
def test_the_commands_of_the_page_print_what_it_shows(page, place, lab_here, new_package):
    if page.stem in PAGE_NEEDS:
        pytest.importorskip(PAGE_NEEDS[page.stem], reason=f"{page.name} needs the extra")
    for words, shown in commands(page):
        done = lab_here(*as_here(words))
        all_done = done.stderr == "lab: every run of this group is done\n"
        assert done.returncode == 0 or all_done, f"lab {' '.join(words)}: {done.stderr}"
        assert trains(words) or shapes(shown) - shapes(done.stdout) == set()
        if words[0] == "new":
            new_package()


def as_here(words: list[str]) -> list[str]:
    """The command with what stands in this test's folders, its output into no file; a training
    becomes its plan."""
    words = words[: words.index(">")] if ">" in words else words
    changed = [SAID.get(word, word) for word in words]
    return [*changed, "--dry-run"] if trains(words) else changed


def trains(words: list[str]) -> bool:
    return words[0] in ("run", "bench") and not {"--dry-run", "--format"} & {*words}

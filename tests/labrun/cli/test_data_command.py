"""`lab data make`: only the dataset is built, and it makes its data once."""

import sys
from pathlib import Path

import pytest
from labrun.cli.main import main
from labrun.plugins import discovery as plugins

MILL = '''
"""A plugin whose dataset writes one file of numbers; its trainer's module does not exist."""

from pathlib import Path
from typing import Annotated

from annotated_types import Ge
from labrun import Component, LabError, Plan, PluginInfo, hookimpl, schema
from labrun.runs.run_dir import home


@schema
class FlourConfig:
    sacks: Annotated[int, Ge(0)] = 2
    """How many."""


@schema
class TrainConfig:
    max_steps: int = 1
    """Steps."""


class Flour:
    def __init__(self, config):
        self.config = config

    def plan(self, setup):
        if self.config.sacks == 0:
            raise LabError("dataset.sacks=0: allowed: 1 and up")
        return Plan()

    def load(self, ctx):
        return self.config.sacks

    def fingerprint(self):
        return str(self.config.sacks)

    def make(self, progress):
        path = home() / f"{self.config.sacks}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as out:
            for sack in range(self.config.sacks):
                progress("flour", sack, self.config.sacks)
                out.write(f"{sack} ")
        return {"flour": path, "sacks": self.config.sacks}


@hookimpl
def lab_plugin():
    def part(kind, name, config, factory):
        return Component(kind, name, f"lab_mill_plugin:{config}", factory)

    return PluginInfo(
        name="mill",
        summary="a plugin of a test",
        components=(
            part("trainer", "bake", "TrainConfig", "a_module_that_is_missing:Bake"),
            part("dataset", "flour", "FlourConfig", "lab_mill_plugin:Flour"),
            part("evaluator", "taste", "TrainConfig", "a_module_that_is_missing:Taste"),
        ),
        defaults={"trainer": "bake", "dataset": "flour", "evaluator": "taste"},
    )
'''


@pytest.fixture
def mill(tmp_path, monkeypatch):
    folder = tmp_path / "lab-mill"
    info = folder / "lab_mill-0.1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: lab-mill\nVersion: 0.1\n")
    (info / "entry_points.txt").write_text("[labrun]\nmill = lab_mill_plugin\n")
    (folder / "lab_mill_plugin.py").write_text(MILL)
    monkeypatch.syspath_prepend(folder)
    yield folder
    plugins.load.cache_clear()
    sys.modules.pop("lab_mill_plugin", None)


@pytest.fixture
def make(monkeypatch, capsys):
    """`make(*words)` is `lab data make *words` in this process; returns (exit code, out, err)."""

    def call(*words: str) -> tuple[object, str, str]:
        monkeypatch.setattr(sys, "argv", ["lab", "data", "make", *words])
        with pytest.raises(SystemExit) as end:
            main()
        said = capsys.readouterr()
        return end.value.code, said.out, said.err

    return call


def written(home: Path) -> dict[str, str]:
    return {file.name: file.read_text() for file in home.iterdir()}


@pytest.mark.usefixtures("mill")
def test_the_dataset_alone_makes_its_data_and_its_facts_are_printed(make, home):
    code, out, _ = make("plugin=mill", "sacks=3")
    assert code == 0
    assert written(home) == {"3.txt": "0 1 2 "}
    lines = [line.rstrip() for line in out.splitlines() if line.strip()]
    assert lines[0] == "plugin=mill sacks=3"
    assert lines[-2:] == [f"  flour  {home / '3.txt'}", "  sacks  3"]


@pytest.mark.usefixtures("mill")
def test_a_sweep_makes_each_data_set_once(make, home):
    code, out, _ = make("-m", "plugin=mill", "sacks=1,2", "seed=0,1,2")
    assert code == 0
    assert written(home) == {"1.txt": "0 ", "2.txt": "0 1 "}
    assert out.count("  sacks  ") == 2


@pytest.mark.usefixtures("mill")
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["-m", "plugin=mill", "sacks=1,0"], "lab: dataset.sacks=0: allowed: 1 and up\n"),
        (["plugin=mill", "sacks=-1"], "lab: dataset.sacks=-1: input should be greater than or "),
        (["plugin=mill", "sack=1"], "lab: no key 'sack'; did you mean dataset.sacks?\n"),
        (
            ["plugin=mill", "sacks=1,2"],
            "lab: a value with commas is a sweep: add -m (or quote it: key='a,b')\n",
        ),
    ],
)
def test_a_mistake_is_one_line_before_anything_is_made(words, expected, make, home):
    code, out, err = make(*words)
    assert (code, out) == (2, "")
    assert err.startswith(expected)
    assert err.count("\n") == 1
    assert not home.exists()


@pytest.mark.usefixtures("example")
def test_a_dataset_that_makes_nothing_is_named(make, home):
    code, _, err = make("plugin=example")
    assert code == 2
    assert err == "lab: dataset 'example.line' has nothing to make; `lab run` loads it as it is\n"
    assert not home.exists()

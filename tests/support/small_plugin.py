"""A small plugin as text, into which a test writes one mistake."""

import textwrap
from collections.abc import Mapping
from pathlib import Path

PLUGIN = """
from labrun import Component, PluginInfo, hookimpl


@hookimpl
def lab_plugin():
    return PluginInfo(
        name="mine",
        summary="a plugin of a test",
        components=(
            Component(
                kind="trainer",
                name="walk",
                config="lab_mine.config:WalkConfig",
                factory="lab_mine.parts:Walk",
            ),
            Component(
                kind="dataset",
                name="steps",
                config="lab_mine.config:StepsConfig",
                factory="lab_mine.parts:Steps",
            ),
            Component(
                kind="evaluator",
                name="length",
                config="lab_mine.config:LengthConfig",
                factory="lab_mine.parts:Length",
            ),
        ),
        defaults={"trainer": "walk", "dataset": "steps", "evaluator": "length"},
        presets=("lab_mine.conf",),
        groups={"method": "fast", "scale": "tiny"},
        headline=("loss",),
        figures=("lab_mine.parts:draw",),
    )
"""
CONFIG = """
from typing import Annotated

from annotated_types import Ge
from labrun import schema


@schema
class WalkConfig:
    max_steps: Annotated[int, Ge(0)] = 3
    \"\"\"Optimizer steps.\"\"\"
    gamma: Annotated[float, Ge(0)] = 0.5
    \"\"\"Discount.\"\"\"


@schema
class StepsConfig:
    num_points: int = 4
    \"\"\"Points.\"\"\"


@schema
class LengthConfig:
    unit: str = "m"
    \"\"\"Unit of length.\"\"\"
"""
PARTS = """
from labrun import Plan, TrainResult


class Steps:
    def __init__(self, config):
        self.config = config

    def load(self, ctx):
        return [1.0]

    def fingerprint(self):
        return "steps"


class Walk:
    def __init__(self, config):
        self.config = config

    def plan(self, setup):
        return Plan()

    def fit(self, ctx, data):
        return TrainResult(None, 0)


class Length:
    def __init__(self, config):
        self.config = config

    def evaluate(self, ctx, model, data):
        return []


def draw(arms, folder):
    return []
"""
FILES = {
    "lab_mine/__init__.py": "",
    "lab_mine/plugin.py": PLUGIN,
    "lab_mine/config.py": CONFIG,
    "lab_mine/parts.py": PARTS,
    "lab_mine/conf/__init__.py": "",
    "lab_mine/conf/method/fast.yaml": "# @package trainer\ngamma: 0.9\n",
    "lab_mine/conf/method/slow.yaml": "# @package trainer\ngamma: 0.1\n",
    "lab_mine/conf/scale/tiny.yaml": "# @package _global_\ntrainer:\n  max_steps: 1\n",
    "lab_mine-0.1.dist-info/METADATA": "Metadata-Version: 2.1\nName: lab-mine\nVersion: 0.1\n",
    "lab_mine-0.1.dist-info/entry_points.txt": "[labrun]\nmine = lab_mine.plugin\n",
}
Edit = tuple[str, str, str]
"""File, what stands there in the sound plugin (all of it where this is empty), what is written."""


def write(folder: Path, edits: tuple[Edit, ...] = (), *, name: str = "mine") -> Path:
    """Writes the plugin with the edits into the folder, under another name where one is given."""
    for path, text in edited(edits).items():
        target = folder / path.replace("mine", name)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(textwrap.dedent(text).lstrip("\n").replace("mine", name))
    return folder


def edited(edits: tuple[Edit, ...]) -> Mapping[str, str]:
    files = dict(FILES)
    for path, old, new in edits:
        assert old in files.get(path, ""), f"{path} holds no {old!r}"
        files[path] = files[path].replace(old, new) if old else new
        if new == "(gone)":
            del files[path]
    return files

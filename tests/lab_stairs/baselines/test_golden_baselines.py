"""The baselines against the published code's values: losses of four updates, weights moving."""

import dataclasses
import json
import os
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest
import torch
from baseline_cases import CPU, MIXED, SMALL, set_weights, wave_batch
from lab_marl.cloning.config import BCConfig
from lab_marl.cloning.learner import BCLearner
from lab_marl.episodes.layouts import Layout
from lab_stairs.baselines.config import HiSSDConfig, ODISConfig, UPDeTConfig
from lab_stairs.baselines.hissd.learner import HiSSDLearner
from lab_stairs.baselines.odis.learner import ODISLearner
from lab_stairs.baselines.updet import UPDeTLearner
from stairs_cases import grid_layout, marine_layout

OWN = Path(__file__).parents[2] / "golden" / "baselines.json"
GOLDEN = json.loads(Path(os.environ.get("BASELINES_GOLDEN", OWN)).read_text())
LAYOUTS = {"grid": grid_layout, "marines": marine_layout}
METHODS: dict[str, tuple[Any, Any, dict[str, Any], tuple[str, ...]]] = {
    "bc": (BCLearner, BCConfig, SMALL, ("network",)),
    "updet": (UPDeTLearner, UPDeTConfig, MIXED, ("online.agents", "online.mixer")),
    "odis": (ODISLearner, ODISConfig, MIXED, ("network", "mixer")),
    "hissd": (HiSSDLearner, HiSSDConfig, MIXED, ("network", "mixer")),
}
"""Learner, its config, sizes of the networks, the parts that get the file's weights."""


def tasks(case: dict[str, Any]) -> list[Layout]:
    """The case's layouts, each a task of its own."""
    layouts = [LAYOUTS[kind](*sizes) for kind, *sizes in case["layouts"]]
    return [dataclasses.replace(one, task=f"task-{i}") for i, one in enumerate(layouts)]


def learner(case: dict[str, Any], layouts: list[Layout]) -> Any:
    """The method with the file's weights, its targets the same."""
    kind, config, sizes, parts = METHODS[case["method"]]
    made = kind(layouts, config(**sizes, **case["settings"]), device=CPU)
    for part in parts:
        set_weights(attrgetter(part)(made), **GOLDEN["weights"])
    if hasattr(made, "target"):
        made.target.load_state_dict(made.online.state_dict())
    return made


def updates(case: dict[str, Any]) -> list[dict[str, float]]:
    """The metrics of as many updates as the file has values of."""
    layouts = tasks(case)
    made, metrics = learner(case, layouts), []
    for step in range(len(next(iter(case["expected"].values())))):
        layout, transitions = layouts[step % len(layouts)], case["transitions"][step % 2]
        torch.manual_seed(step)
        metrics.append(made.update(wave_batch(layout, transitions, **GOLDEN["waves"])))
    return metrics


def value(metrics: dict[str, float], name: str) -> float:
    if name == "cloning_loss":
        return metrics["bc_loss"] + 0.05 * metrics["contrast_loss"]
    return metrics[name]


@pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda case: case["name"])
def test_losses_are_those_of_the_published_code(case):
    metrics = updates(case)
    for name, expected in case["expected"].items():
        there = [step for step, number in enumerate(expected) if number is not None]
        got = [value(metrics[step], name) for step in there]
        wanted = [expected[step] for step in there]
        assert got == pytest.approx(wanted, rel=case["rel"]), name

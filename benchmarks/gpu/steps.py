"""One step of every method, from a run's spec to its scores, on the CPU and on the GPU.

Rollouts draw their random numbers on the CPU, so that a float32 step has the same rollouts on both
but for roundings at the edge of a token's share. STAIRS' token dropout is off: its random numbers
come from the device.
"""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
import trl.trainer.grpo_trainer  # noqa: F401  # so that forks have it
from labrun import worker
from labrun.config.experiments import compose, preset_groups
from labrun.errors import LabError
from labrun.plugins import discovery
from labrun.runs import run_dir

from gpu import forks
from gpu.place import Place, Rows

SMALL = {"rlrt": ("rlrt", "sdpo"), "epistemic": ("sft_unguided",), "stairs": ("stairs",)}
COMMON = {
    "rlrt": ("max_steps=1", "trainer.evaluate_start=false"),
    "epistemic": ("max_steps=1", "trainer.evaluate_start=false"),
    "stairs": (
        "max_steps=1",
        "trainer.evaluate_start=false",
        "evaluator.rollout.episodes=4",
        "dataset.num_episodes=64",
    ),
}
BFLOAT16 = {"rlrt": "trainer.model.dtype", "epistemic": "trainer.model.dtype"}
NO_GRAD = "trainer.no_grad_dtype"


@dataclass(frozen=True)
class Step:
    """One run of one step."""

    plugin: str
    method: str
    precision: str
    device: str
    words: tuple[str, ...]


def rows(place: Place) -> Rows:
    """Loss and norm of the gradient of each step, and how far it is from float32 on the CPU."""
    os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"  # a fork cannot use a CUDA that it inherits
    torch.set_num_threads(1)
    home = run_dir.home()
    steps = list(planned(place))
    runs = [run_dir.create(compose(step.words), root=home) for step in steps]
    works = [partial(fit, run.path, step.device) for run, step in zip(runs, steps, strict=True)]
    at_once = min(12, os.cpu_count() or 1)
    base: dict[tuple[str, str], tuple[float, float]] = {}
    for ended in forks.done(works, at_once=at_once, log=home / "steps.log"):
        step, run = steps[ended.place], runs[ended.place]
        found = loss_and_norm(run)
        method = step.plugin, step.method
        if step.precision == "float32" and step.device == "cpu":
            base[method] = found
        yield {
            "plugin": step.plugin,
            "method": step.method,
            "precision": step.precision,
            "device": step.device,
            "state": "done" if ended.code == 0 else last_line(run),
            "loss": found[0],
            "grad_norm": found[1],
            "of_cpu": found[1] / base[method][1] if method in base and base[method][1] else None,
            "seconds": round(ended.seconds, 1),
        }


def planned(place: Place) -> Sequence[Step]:
    """Float32 on the CPU first: the others are compared with it."""
    found: list[Step] = []
    kinds = [("float32", device) for device in place.devices] + [("bfloat16", place.device)]
    for precision, device in kinds:
        for plugin, words in COMMON.items():
            names = preset_groups(discovery.load(plugin))["method"]
            for method in SMALL[plugin] if place.is_small else names:
                more = precision_words(plugin, method, precision)
                if more is not None:
                    chosen = (f"plugin={plugin}", f"method={method}", *words, *more)
                    found.append(Step(plugin, method, precision, device, chosen))
    return found


def precision_words(plugin: str, method: str, precision: str) -> tuple[str, ...] | None:
    """What chooses the precision; None where the method has float32 alone."""
    if plugin in BFLOAT16:
        return (f"{BFLOAT16[plugin]}={precision}",)
    words = (f"plugin={plugin}", f"method={method}")
    keys = [key for key in (NO_GRAD, "trainer.token_dropout") if has_key(words, key)]
    if precision != "float32" and NO_GRAD not in keys:
        return None
    values = {NO_GRAD: precision, "trainer.token_dropout": "0"}
    return tuple(f"{key}={values[key]}" for key in keys)


def has_key(words: Sequence[str], key: str) -> bool:
    section, _, name = key.partition(".")
    try:
        return name in compose(words).settings[section]
    except LabError:
        return False


def fit(path: Path, device: str) -> None:
    os.environ["CUDA_VISIBLE_DEVICES"] = "" if device == "cpu" else "0"
    os.environ["LABRUN_ATTEMPT"] = "0"
    sys.exit(worker.main([str(path)]))


def loss_and_norm(run: run_dir.RunDir) -> tuple[float, float]:
    series = run.series()
    values = [
        next((v for n, points in series.items() if ends_in(n, name) for v in points.values()), 0.0)
        for name in ("loss", "grad_norm")
    ]
    return values[0], values[1]


def ends_in(metric: str, name: str) -> bool:
    return metric.rpartition("/")[2] == name


def last_line(run: run_dir.RunDir) -> str:
    return run.recorded_status().message or "failed"

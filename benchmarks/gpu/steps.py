"""One step of every method, from a run's spec to its scores, on the CPU and on the GPU.

Rollouts draw their random numbers on the CPU, so that a float32 step has the same rollouts on both
but for roundings at the edge of a token's share. STAIRS' token dropout is off: its random numbers
come from the device.
"""

import importlib.util
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
import trl.trainer.grpo_trainer  # noqa: F401  # so that forks have it
from labrun import worker
from labrun.config.experiments import compose, preset_groups
from labrun.plugins import discovery
from labrun.runs import run_dir

from gpu import forks
from gpu.place import Place, Rows

SMALL: Mapping[str, tuple[str, ...]] = {"rlrt": ("sdpo",), "stairs": ("stairs",)}
ONE = ("max_steps=1", "trainer.evaluate_start=false")
PLAYED = ("evaluator.rollout.episodes=4", "dataset.num_episodes=64")
COMMON = {"rlrt": ONE, "epistemic": ONE, "stairs": (*ONE, *PLAYED)}
FEW_ROLLOUTS = (
    "trainer.prompts_per_step=4",
    "trainer.num_generations=4",
    "trainer.micro_batch_size=8",
    "trainer.max_completion_length=48",
    "max_problems=2",
    "accuracy.num_samples=1",
    "accuracy.max_new_tokens=8",
)
"""The short form of a language model's run."""
FEW_EPISODES = ("evaluator.rollout.episodes=2", "dataset.num_episodes=8", "trainer.batch_size=4")
FEW_EPISODES += ("evaluator.rollout.figures=false",)
FEW_RESPONSES = ("trainer.batch_size=4", "trainer.num_probes=2", "max_problems=2")
"""The short form of a run that trains on responses."""
SMALL_COMMON = {
    "rlrt": (*ONE, *FEW_ROLLOUTS),
    "epistemic": (*ONE, *(word.replace("accuracy.", "verbalization.") for word in FEW_ROLLOUTS)),
    "stairs": (*ONE, *FEW_EPISODES),
}
COPIED = "trainer.teacher_copy_every=1"
OFFLOADED = "trainer.teacher_offload=true"
TEACHERS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "rlsd": {"copied teacher": (COPIED,), "offloaded teacher": (COPIED, OFFLOADED)},
    "sdpo": {"copied teacher": (COPIED,), "offloaded teacher": (OFFLOADED,)},
    "sdft": {"offloaded teacher": (OFFLOADED,)},
}
"""Method of rlrt -> teachers that its own preset does not have."""
ZERO = ("zero2", "zero3")
SPREAD = ("grpo", "rlrt", "sdpo")
"""Methods of rlrt that also take a step under DeepSpeed, where it is installed."""
DATA = {"td3_bc": ("dataset=mamujoco", "trainer.smoothing_noise=0")}
"""The method that needs other data than its plugin's own; its noise comes from the device."""


@dataclass(frozen=True)
class Step:
    """One run of one step."""

    plugin: str
    method: str
    precision: str
    device: str
    words: tuple[str, ...]


def rows(place: Place) -> Rows:
    """Loss and norm of the gradient of each step, and both over those of float32 on the CPU."""
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
            "loss_of_cpu": found[0] / base[method][0] if base.get(method, (0,))[0] else None,
            "seconds": round(ended.seconds, 1),
        }


def planned(place: Place) -> Sequence[Step]:
    """Float32 on the CPU first: the others are compared with it."""
    kinds = [("float32", device) for device in place.devices] + [("bfloat16", place.device)]
    cases = list(methods(place))
    found: list[Step] = []
    for precision, device in kinds:
        for plugin, method, words in cases:
            more = precision_words(words, precision)
            if more is not None:
                found.append(Step(plugin, method, precision, device, (*words, *more)))
        if precision == "float32" and device == "cuda" and importlib.util.find_spec("deepspeed"):
            found += list(under_deepspeed())
    return found


def under_deepspeed() -> Iterator[Step]:
    """Steps in bfloat16 with DeepSpeed's float32 masters, in one process."""
    for stage in ZERO:
        for method in SPREAD:
            words = ("plugin=rlrt", f"method={method}", *COMMON["rlrt"])
            words += ("trainer.model.dtype=bfloat16", f"trainer.deepspeed={stage}")
            yield Step("rlrt", method, f"bfloat16, {stage}", "cuda", words)


def methods(place: Place) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Plugin, name and words of every method that its plugin has, and of the other teachers.

    Few of them in the short form on a CPU.
    """
    is_short = place.is_small and place.device == "cpu"
    for plugin, common in (SMALL_COMMON if place.is_small else COMMON).items():
        names = preset_groups(discovery.load(plugin))["method"]
        for method in SMALL.get(plugin, ()) if is_short else names:
            data = DATA.get(method, ())
            if data and not importlib.util.find_spec("mujoco"):
                continue
            of_method = (*ONE, *FEW_RESPONSES) if place.is_small and "sft_" in method else common
            words = (f"plugin={plugin}", f"method={method}", *of_method, *data)
            yield plugin, method, words
            if plugin == "rlrt" and not is_short:
                for teacher, more in TEACHERS.get(method, {}).items():
                    yield plugin, f"{method}, {teacher}", (*words, *more)


def precision_words(words: Sequence[str], precision: str) -> tuple[str, ...] | None:
    """What chooses the precision; None where the method has float32 alone."""
    trainer = compose(words).settings["trainer"]
    if "model" in trainer:
        return (f"trainer.model.dtype={precision}",)
    values = {"no_grad_dtype": precision, "token_dropout": "0"}
    if precision != "float32" and "no_grad_dtype" not in trainer:
        return None
    return tuple(f"trainer.{key}={value}" for key, value in values.items() if key in trainer)


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

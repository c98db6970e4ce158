"""What one optimizer step records, and what of it goes to the run."""

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from statistics import fmean
from typing import NamedTuple

import torch
from torch import Tensor

from lab_llm.distributed import ranks

LOGGED = {
    "loss": "loss",
    "grad_norm": "grad_norm",
    "learning_rate": "learning_rate",
    "reward": "reward",
    "completions/mean_length": "completion_length",
    "completions/clipped_ratio": "truncated_fraction",
}
"""TRL's metric -> ours; docs/metrics.md defines each."""
TOKEN_MEANS = ("entropy", "kl", "ratio_clip_fraction")
"""Means over tokens that losses record; docs/metrics.md defines each."""


class Mean(NamedTuple):
    """A mean over `weight` things, such as tokens, of this rank; 0 over none.

    A step's metric is the mean over the things of all ranks.
    """

    value: float
    weight: float


def mean_over(values: Tensor, mask: Tensor) -> Mean:
    """The mean of per-token values over the mask's tokens."""
    num_tokens = mask.sum()
    mean = (values * mask).sum() / num_tokens.clamp(min=1.0)
    return Mean(*torch.stack([mean, num_tokens]).tolist())  # one copy from a GPU


class StepMetrics:
    """The values of one optimizer step on this rank, by name."""

    def __init__(self) -> None:
        self.values: dict[str, list[float]] = defaultdict(list)
        """One value for each batch of rollouts, or one for each thing counted."""
        self.means: dict[str, list[Mean]] = defaultdict(list)
        """One for each batch of rollouts or micro-batch, of which a rank may have none."""

    def add(self, name: str, value: float | Mean) -> None:
        if isinstance(value, Mean):
            self.means[name].append(value)
        else:
            self.values[name].append(value)

    def count_context(self, name: str) -> None:
        """One more rollout whose teacher was shown this."""
        self.add(f"teacher_context/{name}", 1.0)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.add(f"time/{stage}", time.perf_counter() - began)

    def take(
        self, logs: Mapping[str, float], trl: Mapping[str, list[float]], *, seconds: float
    ) -> dict[str, float]:
        """The step's metrics under our names; what was recorded is then gone.

        `logs` and `trl` are what transformers and TRL recorded, `seconds` is the step's time. TRL's
        other metrics are dropped.
        """
        theirs = {name: fmean(values) for name, values in trl.items() if values} | dict(logs)
        metrics = {ours: theirs[name] for name, ours in LOGGED.items() if name in theirs}
        for name, values in ranks.pooled(self.values).items():
            is_sum = name.startswith(("time/", "teacher_context/"))
            metrics[name] = sum(values) if is_sum else fmean(values)
        metrics |= {name: _over_all(means) for name, means in ranks.pooled(self.means).items()}
        spent = sum(metrics.get(f"time/{stage}", 0.0) for stage in ("sample", "verify", "teacher"))
        metrics |= {"time/step": seconds, "time/update": seconds - spent}
        self.values.clear()
        self.means.clear()
        return metrics


def _over_all(means: list[Mean]) -> float:
    """The mean over what all of them are over; 0 over none."""
    weight = sum(mean.weight for mean in means)
    return sum(mean.value * mean.weight for mean in means) / weight if weight else 0.0

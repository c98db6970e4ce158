"""Whole updates of STAIRS-Former a second, and what one asks of the GPU."""

import time
from collections import Counter
from dataclasses import replace
from statistics import median

import numpy as np
import stairs_throughput as episodes
import torch
from lab_marl.episodes.batches import Batch, make_batch
from lab_marl.episodes.layouts import Layout
from lab_marl.kernel.build import lacking
from lab_marl.kernel.choice import Path
from lab_stairs.config import StairsConfig
from lab_stairs.learner import StairsLearner
from torch.profiler import ProfilerActivity, profile

from gpu.place import Place, Rows

BATCH = 32
"""Episodes of one update."""
WAITS = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize")
ORDERS = ("cudaLaunchKernel", "cuLaunchKernel", "cudaGraphLaunch")
UNPROFILED = ("3m", "torch")
"""Its orders are so many that the profiler takes a minute."""


def rows(place: Place) -> Rows:
    torch.set_num_threads(1)
    paths: list[tuple[str, Path]] = [("cpu", "torch" if lacking() else "cpp")]
    if place.device == "cuda":
        paths += [("cuda", "torch"), ("cuda", "cuda_graph")]
    for task in ("cn-2",) if place.is_small else episodes.LAYOUTS:
        for mask, config in episodes.MASKS.items():
            for device, path in paths:
                yield {
                    "task": task,
                    "bc_mask": mask,
                    "device": device,
                    "path": path,
                    **measured(task, replace(config, kernel=path), device, place),
                }


def measured(task: str, config: StairsConfig, device: str, place: Place) -> dict[str, object]:
    """Updates a second, after one pass over the batches; on a GPU what one update asks of it."""
    batches = drawn(episodes.LAYOUTS[task], torch.device(device), 2 if place.is_small else 3)
    learner = StairsLearner([batches[0].layout], config, device=torch.device(device))
    began = time.perf_counter()
    for batch in batches:
        learner.update(batch)
    first = time.perf_counter() - began
    profiled = device == "cuda" and (task, config.kernel) != UNPROFILED
    return {
        "updates_per_s": 1 / median(seconds(learner, batches, device)),
        "first_pass_s": first,
        **(asked(learner, batches[0]) if profiled else {}),
    }


def drawn(layout: Layout, device: torch.device, number: int) -> list[Batch]:
    """Batches of random episodes whose lengths are like those of the published data."""
    made = []
    for seed in range(number):
        rng = np.random.default_rng(seed)
        lengths = episodes.draw_lengths(layout, BATCH, rng)
        data = episodes.random_episodes(layout, lengths, rng)
        made.append(make_batch(layout, data, np.arange(len(data)), device=device))
    return made


def seconds(learner: StairsLearner, batches: list[Batch], device: str) -> list[float]:
    """Of the clock, for each update."""
    found = []
    for batch in batches:
        began = time.perf_counter()
        learner.update(batch)
        if device == "cuda":
            torch.cuda.synchronize()
        found.append(time.perf_counter() - began)
    return found


def asked(learner: StairsLearner, batch: Batch) -> dict[str, object]:
    """Orders to the GPU, its kernels, waits for it and copies of one update (count), and its busy
    time (ms)."""
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
        learner.update(batch)
        torch.cuda.synchronize()
    events = profiler.events() or []
    names = Counter(event.name for event in events)
    on_gpu = [event for event in events if str(event.device_type).endswith("CUDA")]
    return {
        "orders": sum(n for name, n in names.items() if name.startswith(ORDERS)),
        "kernels": len(on_gpu),
        "waits": sum(names[name] for name in WAITS),
        "copies": sum(n for name, n in names.items() if name.startswith("cudaMemcpy")),
        "gpu_busy_ms": sum(event.device_time for event in on_gpu) / 1e3,
    }

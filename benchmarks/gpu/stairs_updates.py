"""Whole updates of STAIRS-Former a second, and what one asks of the GPU."""

import time
from collections import Counter
from statistics import median

import numpy as np
import stairs_throughput as episodes
import torch
from lab_marl.episodes.batches import Batch, make_batch
from lab_marl.episodes.layouts import Layout
from lab_stairs.learner import StairsLearner
from torch.profiler import ProfilerActivity, profile

from gpu.place import Place, Rows

BATCH = 32
"""Episodes of one update."""
WAITS = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize")


def rows(place: Place) -> Rows:
    torch.set_num_threads(1)
    for task in ("cn-2",) if place.is_small else episodes.LAYOUTS:
        for mask, config in episodes.MASKS.items():
            for device in place.devices:
                batches = drawn(
                    episodes.LAYOUTS[task], torch.device(device), 2 if place.is_small else 4
                )
                learner = StairsLearner([batches[0].layout], config, device=torch.device(device))
                learner.update(batches[0])
                learner.update(batches[1])
                yield {
                    "task": task,
                    "bc_mask": mask,
                    "device": device,
                    "updates_per_s": 1 / median(seconds(learner, batches, device)),
                    **(asked(learner, batches[0]) if device == "cuda" else {}),
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
    """Kernels, waits for the GPU and copies of one update (count), and its busy time (ms)."""
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
        learner.update(batch)
        torch.cuda.synchronize()
    events = profiler.events() or []
    names = Counter(event.name for event in events)
    on_gpu = [event for event in events if str(event.device_type).endswith("CUDA")]
    return {
        "kernels": sum(n for name, n in names.items() if name.startswith("cudaLaunchKernel")),
        "waits": sum(names[name] for name in WAITS),
        "copies": sum(n for name, n in names.items() if name.startswith("cudaMemcpy")),
        "gpu_busy_ms": sum(event.device_time for event in on_gpu) / 1e3,
    }

"""Updates a second from episodes in memory, and from their files through a buffer.

BC-t, the toolkit's cheapest method, on random episodes of a 3m battle's shapes in one file as the
lab writes it, one thread. A share of 0.25 is `dataset.memory_limit_gib` at a quarter of what all
episodes take. Every arm draws the same batches, uniformly over all episodes; they are first checked
to be equal. `batches_per_s` leaves the learner out. The files were just written, so that the
system's cache holds them: what is measured is unpacking, not the disk.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import harness
import numpy as np
import torch
from lab_marl import environments
from lab_marl.behaviours.noise import uniform
from lab_marl.cloning.config import BCConfig
from lab_marl.cloning.learner import BCLearner
from lab_marl.datasets.reading import Source
from lab_marl.environments.rollout import play
from lab_marl.episodes.batches import Batch, make_batch
from lab_marl.episodes.buffered import Buffer
from lab_marl.episodes.episodes import Episodes
from lab_marl.episodes.hdf5_files import probe
from lab_marl.episodes.hdf5_writer import write
from lab_marl.episodes.offline_data import TaskData

TASK = "battle-3m"
BATCH_SIZE = 32


def played(num: int) -> Episodes:
    """Episodes in which every action is drawn at random."""
    env, rng = environments.make(TASK, num), np.random.default_rng(0)
    return play(env, lambda frame, live: uniform(frame.avail_actions, rng), seed=0)[0]


def batches(data: TaskData, count: int) -> Callable[[], list[Batch]]:
    def draw() -> list[Batch]:
        rng = np.random.default_rng(1)
        index = [rng.choice(len(data.episodes), BATCH_SIZE, replace=False) for _ in range(count)]
        return [make_batch(data.layout, data.episodes, one, device="cpu") for one in index]

    return draw


def equal(one: Batch, other: Batch) -> bool:
    return torch.equal(one.obs, other.obs) and torch.equal(one.actions, other.actions)


def rates(data: TaskData, count: int, repeats: int) -> dict[str, Any]:
    """Batches and updates per CPU second, over `count` batches in each repeat."""
    learner = BCLearner([data.layout], BCConfig(), device=torch.device("cpu"))
    draw = batches(data, count)
    drawn, updated = [], []
    for repeat in range(repeats + 1):
        began = time.process_time()
        made = draw()
        between = time.process_time()
        for batch in made:
            learner.update(batch)
        ended = time.process_time()
        if repeat:  # the first fills the buffer
            drawn.append(count / (between - began))
            updated.append(count / (ended - began))
    return {"batches_per_s": harness.spread(drawn), "updates_per_s": harness.spread(updated)}


def arms(source: Source, shares: list[float]) -> dict[str, TaskData]:
    """The data in memory, and in their file with a buffer of each share."""
    made = {"memory": source.in_memory()[0]}
    for share in shares:
        buffer = Buffer(int(share * source.nbytes))
        made[f"files, {share:g}"] = source.buffered(buffer, lambda *_: None)[0]
    return made


def measured(options: argparse.Namespace) -> dict[str, Any]:
    layout = environments.layout_of(TASK)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "part_0.h5"
        write(file, played(options.episodes), layout, attributes={})
        index = np.arange(options.episodes)
        source = Source(layout, tuple(probe([file], layout)), index, "terminal")
        data = arms(source, options.shares)
        first = {name: batches(one, 1)()[0] for name, one in data.items()}
        assert all(equal(first["memory"], batch) for batch in first.values())
        found = {name: rates(one, options.batches, options.repeats) for name, one in data.items()}
        size = {"mib": source.nbytes / 2**20, "file_mib": file.stat().st_size / 2**20}
    return {"size": size, "arms": found}


def main() -> None:
    options = harness.parser("episodes_from_files", __doc__)
    options.add_argument("--episodes", type=int, default=2000)
    options.add_argument("--batches", type=int, default=20, help="batches of a repeat")
    options.add_argument("--repeats", type=int, default=5)
    options.add_argument("--shares", type=float, nargs="+", default=[0.5, 0.1])
    chosen = options.parse_args()
    torch.set_num_threads(1)
    before = harness.machine()
    result = measured(chosen)
    for name, one in result["arms"].items():
        drawn, updated = harness.show(one["batches_per_s"]), harness.show(one["updates_per_s"])
        print(f"{name:<12} batches {drawn}  updates {updated} per CPU second")
    claim = "what an update costs whose episodes stay in their files"
    settings = {"options": vars(chosen) | {"out": None}, "machine": before}
    harness.write(chosen.out, {"claim": claim} | result | settings)


if __name__ == "__main__":
    main()

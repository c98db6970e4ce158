"""Episodes that stay in their files: the same batches, bounded memory, refusals before a run."""

import tracemalloc
from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from baseline_cases import SMALL, same
from lab_marl import environments
from lab_marl.cloning.config import BCConfig
from lab_marl.cloning.learner import BCLearner
from lab_marl.datasets import reading
from lab_marl.datasets.config import OfflineDataConfig
from lab_marl.datasets.generated import Recipe, generate
from lab_marl.datasets.offline import OfflineDataset
from lab_marl.episodes.batches import Batch, make_batch
from lab_marl.episodes.buffered import Buffer, BufferedEpisodes, FileBlocks
from lab_marl.episodes.hdf5_files import probe
from lab_marl.episodes.hdf5_writer import write
from lab_marl.episodes.offline_data import OfflineData
from lab_marl.training.loop import train
from labrun import Setup
from labrun.errors import LabError
from labrun.runs.context import RunContext
from labrun.runs.run_dir import RunDir

LAYOUT = environments.layout_of("cn-3")
CHUNK = 4


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    """cn-3: 30 episodes in chunks of 4, and 20 in a file without chunks."""
    root = tmp_path_factory.mktemp("large")
    folder = root / "cn-3" / "medium" / "a"
    folder.mkdir(parents=True)
    made = generate(Recipe("cn-3", "medium", 50, 0), lambda *_: None).episodes
    for number, (index, chunk) in enumerate(((np.arange(30), CHUNK), (np.arange(30, 50), None))):
        part = folder / f"part_{number}.h5"
        write(part, made.take(index), LAYOUT, attributes={})
        rewritten(part, chunk)
    return root


def rewritten(file: Path, chunk: int | None) -> None:
    """The same values in chunks of so many episodes; None: without chunks."""
    with h5py.File(file) as stored:
        arrays = {key: np.asarray(stored[key]) for key in stored}
    with h5py.File(file, "w") as stored:
        for key, values in arrays.items():
            chunks = (chunk, *values.shape[1:]) if chunk else None
            stored.create_dataset(key, data=values, chunks=chunks)


def dataset(root: Path, limit: float, **settings) -> OfflineDataset:
    tasks = {"train_tasks": ("cn-3",), "test_tasks": ("cn-3",)}
    wanted = {"num_episodes": 45, "quality": "medium", "choose": "random"} | settings
    config = OfflineDataConfig(path=str(root), memory_limit_gib=limit, **tasks, **wanted)
    return OfflineDataset(config)


def episode_bytes(root: Path) -> int:
    """Of one episode in memory, padded as its file is."""
    (part,) = probe([root / "cn-3" / "medium" / "a" / "part_0.h5"], LAYOUT)
    return int(FileBlocks([part], np.array([0]), LAYOUT).nbytes[0])


def tensors(batch: Batch) -> Mapping[str, object]:
    return {name: value for name, value in vars(batch).items() if name != "layout"}


def assert_equal_batches(one: Batch, other: Batch) -> None:
    for name, value in tensors(one).items():
        theirs = tensors(other)[name]
        if isinstance(value, torch.Tensor):
            assert isinstance(theirs, torch.Tensor)
            assert value.dtype == theirs.dtype
            assert value.numpy().tobytes() == theirs.numpy().tobytes(), name
        else:
            assert value == theirs, name


@pytest.mark.parametrize("timeouts", ["terminal", "bootstrap"])
def test_batches_from_files_equal_those_from_memory_byte_for_byte(files, timeouts):
    limit = 6 * episode_bytes(files) / reading.GIB
    held = dataset(files, 0, timeouts=timeouts).load().tasks["cn-3"].episodes
    read = dataset(files, limit, timeouts=timeouts).load().tasks["cn-3"].episodes
    assert isinstance(read, BufferedEpisodes)
    assert not isinstance(held, BufferedEpisodes)
    assert len(read) == len(held) == 45
    rng = np.random.default_rng(0)
    for _ in range(4):
        index = rng.choice(45, 16, replace=False)
        batches = [make_batch(LAYOUT, source, index, device="cpu") for source in (held, read)]
        assert_equal_batches(*batches)


def context(folder: Path, resume_from: Path | None) -> RunContext:
    folder.mkdir(exist_ok=True)
    return RunContext(
        run=RunDir(folder),
        seed=0,
        attempt=0,
        devices=(),
        resume_from=resume_from,
        keep_checkpoints=9,
    )


def trained(folder: Path, data: OfflineData, *, until: int, start: Path | None = None) -> RunDir:
    """Behaviour cloning up to a step, from the start or a checkpoint."""
    settings = BCConfig(**SMALL, max_steps=until, batch_size=4, save_every=1, evaluate_start=False)
    ctx = context(folder, start)
    train(ctx, data, settings, lambda found, device: BCLearner(found, settings, device=device))
    return ctx.run


def weights(run: RunDir) -> dict[str, torch.Tensor]:
    state = torch.load(run.path / "artifacts" / "learner.pt", weights_only=True)
    return state["learner"]["network"]


def test_a_run_from_files_goes_on_exactly_and_ends_as_one_from_memory(files, tmp_path):
    limit = 6 * episode_bytes(files) / reading.GIB
    whole = trained(tmp_path / "whole", dataset(files, 0).load(), until=2)
    half = trained(tmp_path / "half", dataset(files, limit).load(), until=1)
    checkpoint = half.path / "checkpoints" / "00000001"
    rest = trained(tmp_path / "rest", dataset(files, limit).load(), until=2, start=checkpoint)
    assert same(weights(whole), weights(rest))


def test_a_limit_that_holds_all_episodes_leaves_them_in_memory(files):
    assert not isinstance(dataset(files, 1.0).load().tasks["cn-3"].episodes, BufferedEpisodes)


def test_reading_and_drawing_take_the_limit_and_what_unpacking_needs(files, monkeypatch):
    """Python's and NumPy's allocations: 18 episodes of 50. The buffer holds 8 and a batch 2. The
    rest is a block of 4 that is unpacked and checked."""
    one = episode_bytes(files)
    monkeypatch.setattr(reading, "GROUP", CHUNK * one)
    sources = dataset(files, 8 * one / reading.GIB, num_episodes=0)
    tracemalloc.start()
    episodes = sources.load().tasks["cn-3"].episodes
    rng = np.random.default_rng(0)
    for _ in range(12):
        episodes.take(rng.choice(50, 2, replace=False), frames=51)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20 * one


def test_the_buffer_keeps_the_blocks_that_were_used_last():
    made = generate(Recipe("cn-3", "expert", 1, 0), lambda *_: None).episodes
    buffer, read = Buffer(2 * made.nbytes), []

    def get(key: str) -> None:
        def reads():
            read.append(key)
            return made

        buffer.get(key, reads, nbytes=made.nbytes)

    for key in ("a", "b", "a", "c", "a", "b"):
        get(key)
        assert buffer.held <= buffer.limit
    assert read == ["a", "b", "c", "b"]


def test_blocks_are_the_chunks_of_each_file(files):
    folder = files / "cn-3" / "medium" / "a"
    parts = probe([folder / "part_0.h5", folder / "part_1.h5"], LAYOUT)
    blocks = FileBlocks(parts, np.array([0, 3, 4, 29, 30, 31, 49]), LAYOUT)
    assert [blocks[n].rows.tolist() for n in range(len(blocks))] == [
        [0, 3],
        [4],
        [29],
        [0],
        [1],
        [19],
    ]
    one = episode_bytes(files)
    groups = [(block.part.file.name, block.rows.tolist()) for block in blocks.groups(limit=3 * one)]
    assert groups == [("part_0.h5", [0, 3, 4]), ("part_0.h5", [29]), ("part_1.h5", [0, 1, 19])]


def test_a_limit_below_one_chunk_is_refused_in_the_plan(files):
    limit = 2 * episode_bytes(files) / reading.GIB
    with pytest.raises(LabError) as caught:
        dataset(files, limit).plan(Setup())
    file = files / "cn-3" / "medium" / "a" / "part_0.h5"
    assert f"is less than one chunk of {file} (4 episodes); set at least 0." in str(caught.value)


@pytest.mark.parametrize("limit", [0, 1e-4])
def test_a_file_without_episodes_is_refused_in_the_plan(files, tmp_path, limit):
    folder = tmp_path / "cn-3" / "medium" / "a"
    folder.mkdir(parents=True)
    with h5py.File(files / "cn-3" / "medium" / "a" / "part_0.h5") as stored:
        arrays = {key: np.asarray(stored[key])[:0] for key in stored}
    with h5py.File(folder / "part_0.h5", "w") as stored:
        for key, values in arrays.items():
            stored.create_dataset(key, data=values)
    with pytest.raises(LabError) as caught:
        dataset(tmp_path, limit, num_episodes=0).plan(Setup())
    assert str(caught.value).startswith(f"{folder}/part_0.h5: obs has 0 episodes; delete the file")


def test_the_plan_says_what_stays_in_the_files(files):
    facts = dataset(files, 8 * episode_bytes(files) / reading.GIB).plan(Setup()).facts
    text = str(facts["memory"])
    assert text.endswith("GiB; episodes are read from their files as they are drawn")
    assert "memory" not in dataset(files, 1.0).plan(Setup()).facts


def test_content_that_cannot_be_is_refused_in_the_plan(files, tmp_path):
    folder = tmp_path / "cn-3" / "medium" / "a"
    folder.mkdir(parents=True)
    bad = folder / "part_0.h5"
    bad.write_bytes((files / "cn-3" / "medium" / "a" / "part_0.h5").read_bytes())
    with h5py.File(bad, "r+") as stored:
        obs = stored["obs"]
        assert isinstance(obs, h5py.Dataset)
        obs[7, 0, 1, 2] = np.nan
    with pytest.raises(LabError) as caught:
        dataset(tmp_path, 0, num_episodes=0).plan(Setup())
    assert str(caught.value).startswith(f"{bad}: obs is NaN or infinite: episode 7, frame 0")

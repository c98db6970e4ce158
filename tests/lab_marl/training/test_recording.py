"""`lab data record`: what a trained policy plays becomes offline data."""

from pathlib import Path
from types import MappingProxyType

import h5py
import numpy as np
import pytest
import torch
from lab_marl import environments
from lab_marl.datasets.config import OfflineDataConfig
from lab_marl.datasets.generated import derived
from lab_marl.datasets.offline import OfflineDataset
from lab_marl.environments.rollout import score_episodes
from lab_marl.training import loop
from lab_marl.training.recording import record
from labrun.config.components import build
from labrun.config.experiments import compose
from labrun.errors import LabError

SETTINGS = (
    "plugin=stairs",
    "method=bc_t",
    "dataset.train_tasks=[cn-2]",
    "dataset.test_tasks=[cn-3]",
    "num_episodes=4",
    "batch_size=4",
    "transformer.width=8",
    "transformer.id_bits=2",
)
EPISODES = 130
"""More than play at once."""
PARTS = build(compose(list(SETTINGS)))
GIVEN = MappingProxyType(
    {"tasks": (), "quality": "trained", "num_episodes": EPISODES, "noise": 0.0, "seed": 0}
)


def learner():
    return PARTS.trainer.learner([environments.layout_of("cn-2")], torch.device("cpu"))


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A run's directory with the weights that it began with."""
    folder = tmp_path_factory.mktemp("runs") / "a-run"
    (folder / "artifacts").mkdir(parents=True)
    torch.manual_seed(1)
    loop.save(learner(), 0, folder / "artifacts")
    return folder


def recorded(run: Path, target: Path, **given: object) -> list[str]:
    words = {**GIVEN, **given}
    return record(run, PARTS.trainer, PARTS.dataset, target, progress=lambda *_: None, **words)


def read(target: Path, task: str = "cn-2", seed: int = 0) -> dict[str, np.ndarray]:
    with h5py.File(target / task / "trained" / f"a-run-s{seed}" / "part_0.h5") as file:
        return {name: np.asarray(values) for name, values in file.items()}


@pytest.fixture(scope="module")
def greedy(run, tmp_path_factory) -> Path:
    target = tmp_path_factory.mktemp("data")
    recorded(run, target, tasks=("cn-2", "cn-3"))
    return target


@pytest.mark.parametrize("task", ["cn-2", "cn-3"])
def test_the_episodes_are_those_that_the_policy_plays(task, run, greedy):
    trained = learner()
    loop.load(trained, run / "artifacts" / loop.STATE, torch.device("cpu"))
    tally = score_episodes(
        lambda num_envs: environments.make(task, num_envs),
        trained.policy(),
        environments.layout_of(task),
        episodes=EPISODES,
        batch=128,
        seed=derived("recorded", task, 0),
    )
    file = read(greedy, task)
    assert (file["filled"].sum((1, 2)) - 1).tolist() == tally.lengths.tolist()
    assert file["reward"].sum((1, 2)).tolist() == tally.returns.tolist()
    assert len(set(file["actions"][file["filled"][..., 0] > 0].ravel().tolist())) > 1


def test_the_line_and_the_file_say_how_the_policy_played(run, tmp_path):
    (line,) = recorded(run, tmp_path, num_episodes=8, seed=3)
    place = tmp_path / "cn-2" / "trained" / "a-run-s3" / "part_0.h5"
    with h5py.File(place) as file:
        facts = dict(file.attrs)
    assert facts["policy"] == "run a-run, greedy, noise 0"
    assert (facts["task"], facts["quality"], facts["seed"]) == ("cn-2", "trained", 3)
    length = read(tmp_path, seed=3)["filled"].sum((1, 2)).mean() - 1
    assert facts["mean_length"] == pytest.approx(length)
    assert line == (
        f"cn-2  8 episodes, won {facts['win_rate']:.3f}, return {facts['mean_return']:.2f}, "
        f"length {length:.1f}: {place}"
    )


def test_a_dataset_reads_them_as_any_other_files(greedy):
    config = OfflineDataConfig(train_tasks=("cn-2",), path=str(greedy), quality="trained")
    data = OfflineDataset(config).load()
    assert len(data.tasks["cn-2"].episodes) == EPISODES


def test_noise_draws_that_share_of_the_actions(run, greedy, tmp_path):
    recorded(run, tmp_path / "half", noise=0.5)
    first = [read(folder)["actions"][:, 0].ravel() for folder in (greedy, tmp_path / "half")]
    # a drawn action is the greedy one, too, once in as many times as there are actions
    allowed = read(greedy)["avail_actions"][:, 0].sum(-1).ravel()
    assert (first[0] != first[1]).mean() == pytest.approx(0.5 * (1 - 1 / allowed).mean(), abs=0.07)
    # with nothing but noise the policy does not matter
    torch.manual_seed(2)
    other = tmp_path / "a-run"
    (other / "artifacts").mkdir(parents=True)
    loop.save(learner(), 0, other / "artifacts")
    for folder, target in ((run, tmp_path / "one"), (other, tmp_path / "two")):
        recorded(folder, target, noise=1.0, num_episodes=8)
    one, two = read(tmp_path / "one"), read(tmp_path / "two")
    # what an agent would do at the end is not played
    played = one["filled"][:, 1:] > 0
    assert (one["actions"][:, :-1][played[..., 0]] == two["actions"][:, :-1][played[..., 0]]).all()


def test_equal_arguments_give_equal_episodes_and_other_seeds_others(run, greedy, tmp_path):
    recorded(run, tmp_path)
    recorded(run, tmp_path, seed=1)
    again, other, first = read(tmp_path), read(tmp_path, seed=1), read(greedy)
    assert all((values == first[name]).all() for name, values in again.items())
    assert not (other["obs"] == first["obs"]).all()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"tasks": ("3m",)}, "tasks 'cn-2' and '3m' cannot share one network: "),
        ({"tasks": ("cn-99",)}, "no task 'cn-99'; known are names such as: "),
        ({"tasks": ("cn-2", "cn-9")}, "task 'cn-9' "),
        ({"quality": "a/b"}, "quality='a/b' is no name of a folder; name it like 'medium'"),
    ],
)
def test_what_cannot_be_is_one_line_and_writes_nothing(given, expected, run, tmp_path):
    with pytest.raises(LabError) as error:
        recorded(run, tmp_path / "data", **given)
    assert str(error.value).startswith(expected)
    assert not (tmp_path / "data").exists()


def test_files_that_are_there_are_kept(run, greedy):
    before = (greedy / "cn-3" / "trained" / "a-run-s0" / "part_0.h5").read_bytes()
    with pytest.raises(LabError, match="a-run-s0 is there already; name another target or"):
        recorded(run, greedy, tasks=("cn-3",))
    assert (greedy / "cn-3" / "trained" / "a-run-s0" / "part_0.h5").read_bytes() == before


def test_a_run_without_a_policy_is_named(tmp_path):
    with pytest.raises(LabError, match=r"a-run left no trained policy \(.*learner.pt\)"):
        recorded(tmp_path / "a-run", tmp_path)


def test_a_place_that_cannot_be_written_is_named(run, tmp_path):
    (tmp_path / "cn-2").write_text("a file")
    with pytest.raises(LabError, match=r"cannot write .*part_0.h5: .*; make room, or name another"):
        recorded(run, tmp_path, num_episodes=2)

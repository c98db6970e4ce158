"""`lab data record`: episodes that the policy of a trained run plays, kept as offline data."""

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from labrun import Dataset, LabError, Trainer
from labrun.errors import shown

from lab_marl import environments
from lab_marl.behaviours import noise as random_actions
from lab_marl.behaviours import tiers
from lab_marl.datasets.generated import NUM_ENVS, Generated, derived, gathered, in_words
from lab_marl.datasets.offline import OfflineDataset
from lab_marl.environments.interface import Actor, Policy
from lab_marl.environments.rollout import batch_seed, play
from lab_marl.episodes import hdf5_files, hdf5_writer
from lab_marl.episodes.layouts import Layout, check_one_network
from lab_marl.training import loop
from lab_marl.training.trainer import OfflineTrainer


def record(
    run: Path,
    trainer: Trainer,
    dataset: Dataset,
    target: Path,
    *,
    tasks: Sequence[str],
    quality: str,
    num_episodes: int,
    noise: float,
    seed: int,
    progress: Callable[[str, int, int], None],
) -> list[str]:
    """Write `<target>/<task>/<quality>/<run>-s<seed>/part_0.h5`; a line for each file.

    The greedy policy of the run's last step plays `num_episodes` episodes of each task, by default
    of the tasks that it was trained on. Each agent's action is drawn at random instead with
    probability `noise`. Equal weights, tasks and numbers give equal episodes.

    Raises LabError, before any file is written, where the run left no policy, a task is unknown or
    needs another network, a simulator is missing, or a file is there already.
    """
    if not (isinstance(trainer, OfflineTrainer) and isinstance(dataset, OfflineDataset)):
        raise LabError(f"{run.name}: its trainer is no offline multi-agent method")
    known = dataset.layouts()
    trained = [known[task] for task in dataset.tasks.train]
    layouts = [environments.layout_of(task) for task in dict.fromkeys(tasks)] or trained
    check_one_network([*trained, *layouts])
    trainer.method.check(trainer.config, trained, [*trained, *layouts])
    folders = [
        hdf5_files.new_folder(target, layout.task, quality, f"{run.name}-s{seed}")
        for layout in layouts
    ]
    policy = _policy(run, trainer, trained)
    lines = []
    for layout, folder in zip(layouts, folders, strict=True):
        made = _played(policy, layout, num_episodes, noise=noise, seed=seed, progress=progress)
        facts = {"task": layout.task, "quality": quality, "seed": seed}
        facts["policy"] = f"run {run.name}, greedy, noise {noise:g}"
        file = folder / "part_0.h5"
        _write(file, made, layout, facts)
        said = in_words(layout.task, num_episodes, made.statistics())
        lines.append(f"{layout.task}  {said}: {file}")
    return lines


def _policy(run: Path, trainer: OfflineTrainer, trained: Sequence[Layout]) -> Policy:
    file = run / "artifacts" / loop.STATE
    if not file.is_file():
        raise LabError(f"{run.name} left no trained policy ({file})")
    device = torch.device("cpu")
    learner = trainer.learner(trained, device)
    loop.load(learner, file, device)
    return learner.policy()


def _played(
    policy: Policy,
    layout: Layout,
    num_episodes: int,
    *,
    noise: float,
    seed: int,
    progress: Callable[[str, int, int], None],
) -> Generated:
    make_env = functools.cache(lambda size: environments.make(layout.task, size))
    title, own = f"{layout.task} by a trained policy", derived("recorded", layout.task, seed)
    played = []
    for number, start in enumerate(range(0, num_episodes, NUM_ENVS)):
        size, chosen = min(NUM_ENVS, num_episodes - start), batch_seed(own, number)
        actor = _actor(policy, layout, size, noise, np.random.default_rng([chosen, 1]))

        def on_step(_: int, start: int = start) -> None:
            progress(title, start, num_episodes)

        played.append(play(make_env(size), actor, seed=chosen, on_step=on_step))
    progress(title, num_episodes, num_episodes)
    return gathered(layout, num_episodes, played)


def _actor(
    policy: Policy, layout: Layout, size: int, noise: float, rng: np.random.Generator
) -> Actor:
    mixed = tiers.with_random_joints if layout.continuous else random_actions.noisy
    return mixed(policy.start(layout, size), epsilon=noise, rng=rng)


def _write(file: Path, made: Generated, layout: Layout, facts: Mapping[str, str | int]) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        hdf5_writer.write(file, made.episodes, layout, attributes={**facts, **made.statistics()})
    except OSError as error:
        raise LabError(
            f"cannot write {file}: {shown(str(error))}; make room, or name another target"
        ) from error

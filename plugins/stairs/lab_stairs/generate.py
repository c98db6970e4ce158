"""Offline data from cheap policies: a scripted behaviour, with more or less noise by quality."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib import import_module
from typing import Any

import numpy as np
from labrun.errors import LabError

from lab_stairs import environments, hdf5
from lab_stairs.dataset_config import Quality
from lab_stairs.environments.interface import VectorEnv
from lab_stairs.environments.rollout import batch_seed, play
from lab_stairs.episodes import Episodes
from lab_stairs.layouts import Layout

VERSION = 1
"""Raised whenever equal recipes begin to give other episodes."""
SCRIPTED = ("grid", "battle", "spread", "tag", "mamujoco")
"""Families with a module in `behaviours` that has `TIERS` and `start`."""
NUM_ENVS = 128
"""Copies that play at once, at most; it decides which random numbers an episode meets."""
REPLAY_LEVELS = 10
REPLAY_START = 1.0
"""medium-replay begins with this noise (1: every action at random) and falls to medium's."""

Progress = Callable[[int, int], None]
"""(episodes done, episodes in all), called at every step."""


@dataclass(frozen=True)
class Recipe:
    """What decides every number of one generated data set."""

    task: str
    quality: Quality
    num_episodes: int
    seed: int

    def facts(self) -> dict[str, Any]:
        """The recipe with all that it stands on; equal on every machine."""
        layout = environments.layout_of(self.task)
        return {
            "version": VERSION,
            **asdict(self),
            "stages": [list(stage) for stage in stages(self, behaviour(layout).TIERS)],
            "layout": asdict(layout),
        }

    def policy(self) -> str:
        """Who acted, in words."""
        layout = environments.layout_of(self.task)
        planned = stages(self, behaviour(layout).TIERS)
        listed = ", ".join(f"{count} with noise {noise}" for noise, count in planned)
        return f"scripted {layout.family} behaviour; episodes: {listed}"

    def digest(self) -> str:
        """SHA-256 of `facts`, in hex digits."""
        return hashlib.sha256(json.dumps(self.facts(), sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Generated:
    """Episodes, and whether each was won."""

    episodes: Episodes
    won: np.ndarray

    def statistics(self) -> dict[str, float]:
        """win_rate in [0, 1], mean undiscounted return, mean transitions of an episode."""
        return {
            "win_rate": float(self.won.mean()),
            "mean_return": float(self.episodes.returns.mean()),
            "mean_length": float((self.episodes.lengths - 1).mean()),
        }


def behaviour(layout: Layout) -> Any:
    """The module of the family's scripted policy. Raises LabError where there is none."""
    if layout.family not in SCRIPTED:
        raise LabError(
            f"task {layout.task!r} has no scripted policy to make data with; "
            "give dataset.path a folder that holds its episodes"
        )
    return import_module(f"lab_stairs.behaviours.{layout.family}")


def stages(recipe: Recipe, tiers: Mapping[str, float]) -> list[tuple[float, int]]:
    """(noise, episodes) in the order in which they are played; the episodes add up.

    medium-expert is half of each, medium first; medium-replay falls in `REPLAY_LEVELS` even steps
    from `REPLAY_START` to medium's noise.
    """
    if recipe.quality == "medium-expert":
        noises = [tiers["medium"], tiers["expert"]]
    elif recipe.quality == "medium-replay":
        falling = np.linspace(REPLAY_START, tiers["medium"], REPLAY_LEVELS)
        noises = [round(float(noise), 6) for noise in falling]
    else:
        noises = [tiers[recipe.quality]]
    bounds = [recipe.num_episodes * i // len(noises) for i in range(len(noises) + 1)]
    counts = [high - low for low, high in zip(bounds[:-1], bounds[1:], strict=True)]
    return [stage for stage in zip(noises, counts, strict=True) if stage[1]]


def generate(recipe: Recipe, progress: Progress) -> Generated:
    """Play the recipe's episodes: equal recipes give equal episodes, bit for bit.

    Raises LabError for an unknown task, one without a scripted policy, or whose simulator is not
    installed.
    """
    layout = environments.layout_of(recipe.task)
    script = behaviour(layout)
    episodes = hdf5.empty(layout, recipe.num_episodes, layout.episode_limit + 1)
    won = np.zeros(recipe.num_episodes, bool)
    envs: dict[int, VectorEnv] = {}
    for batch in batches(stages(recipe, script.TIERS)):
        if batch.size not in envs:
            envs[batch.size] = environments.make(recipe.task, batch.size)
        env = envs[batch.size]
        seed = batch_seed(_stream(recipe), batch.number)
        actor = script.start(env, epsilon=batch.noise, rng=np.random.default_rng([seed, 1]))
        made, successes = play(
            env, actor, seed=seed, on_step=lambda _: progress(batch.start, recipe.num_episodes)
        )
        span = slice(batch.start, batch.start + batch.size)
        for (_, target), (_, values) in zip(episodes.arrays(), made.arrays(), strict=True):
            target[span] = values
        won[span] = successes
    progress(recipe.num_episodes, recipe.num_episodes)
    return Generated(episodes, won)


@dataclass(frozen=True)
class EpisodeBatch:
    """Episodes that are played together: `size` of them from `start`, at one noise."""

    number: int
    start: int
    size: int
    noise: float


def batches(planned: list[tuple[float, int]]) -> Iterator[EpisodeBatch]:
    """The stages in batches of at most `NUM_ENVS` episodes."""
    number = start = 0
    for noise, count in planned:
        while count:
            size = min(count, NUM_ENVS)
            yield EpisodeBatch(number, start, size, noise)
            number, start, count = number + 1, start + size, count - size


def _stream(recipe: Recipe) -> int:
    """The seed of the recipe's batches: other tasks and qualities play other episodes."""
    text = json.dumps([recipe.task, recipe.quality, recipe.seed])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1

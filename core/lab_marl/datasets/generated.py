"""Offline data from cheap policies, reproducible bit for bit from a recipe."""

import functools
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from lab_marl import environments
from lab_marl.behaviours import tiers
from lab_marl.behaviours.qualities import Quality, Tier
from lab_marl.behaviours.tiers import Progress, Stage
from lab_marl.environments.interface import VectorEnv
from lab_marl.environments.rollout import batch_seed, play
from lab_marl.episodes import hdf5_reader
from lab_marl.episodes.episodes import Episodes
from lab_marl.episodes.layouts import Layout

VERSION = 2
"""Raised whenever equal recipes begin to give other episodes."""
REVISIONS: Mapping[tuple[str, Tier], int] = {("grid", "expert"): 1}
"""(family, tier) -> how often its episodes alone changed since `VERSION` was 2. It is added to the
version of the recipes that the tier plays in, so that no other data are made anew."""
NUM_ENVS = 128
"""Copies that play at once, at most; it decides which random numbers an episode meets."""


@dataclass(frozen=True)
class Recipe:
    """What decides every number of one generated data set."""

    task: str
    quality: Quality
    num_episodes: int
    seed: int

    @property
    def layout(self) -> Layout:
        return environments.layout_of(self.task)

    @property
    def stages(self) -> list[Stage]:
        return tiers.stages(self.layout, self.quality, self.num_episodes)

    @property
    def version(self) -> int:
        family, tiers_played = self.layout.family, {stage.tier for stage in self.stages}
        return VERSION + sum(REVISIONS.get((family, tier), 0) for tier in tiers_played)

    def facts(self) -> dict[str, Any]:
        """The recipe and all that it stands on; equal on every machine."""
        return {
            "version": self.version,
            **asdict(self),
            "stages": [asdict(stage) for stage in self.stages],
            "layout": asdict(self.layout),
        }

    def digest(self) -> str:
        """SHA-256 of `facts`, in hex digits."""
        return hashlib.sha256(json.dumps(self.facts(), sort_keys=True).encode()).hexdigest()

    def policy(self) -> str:
        """Who acted, in words."""
        acted = [f"{s.count} {s.tier} with noise {s.epsilon:g}" for s in self.stages]
        return f"cheap {self.layout.family} policies, {', '.join(acted)}"


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


def in_words(task: str, num_episodes: int, statistics: Mapping[str, Any]) -> str:
    """What `Generated.statistics` says of the episodes of a task."""
    won = f"won {statistics['win_rate']:.3f}, " if environments.has_goal(task) else ""
    return (
        f"{num_episodes} episodes, {won}return {statistics['mean_return']:.2f}, "
        f"length {statistics['mean_length']:.1f}"
    )


def generate(recipe: Recipe, progress: Progress) -> Generated:
    """Play the recipe's episodes.

    Raises LabError for an unknown task, one without a cheap policy, or whose simulator is not
    installed.
    """
    make_env = functools.cache(lambda size: environments.make(recipe.task, size))
    made = gathered(
        recipe.layout,
        recipe.num_episodes,
        (
            _play(make_env(batch.stage.count), batch, recipe, progress)
            for batch in batches(recipe.stages)
        ),
    )
    progress(_title(recipe), recipe.num_episodes, recipe.num_episodes)
    return made


def gathered(
    layout: Layout, num_episodes: int, played: Iterable[tuple[Episodes, np.ndarray]]
) -> Generated:
    """Batches of episodes, each with won [E] bool, one after the other."""
    episodes = hdf5_reader.empty(layout, num_episodes, layout.episode_limit + 1)
    made, start = Generated(episodes, np.zeros(num_episodes, bool)), 0
    for batch, won in played:
        span = slice(start, start + len(won))
        made.won[span] = won
        for (_, target), (_, values) in zip(episodes.arrays(), batch.arrays(), strict=True):
            target[span] = values
        start = span.stop
    return made


@dataclass(frozen=True)
class EpisodeBatch:
    """Part of a stage that is played at once: `stage.count` episodes from `start`."""

    number: int
    start: int
    stage: Stage


def batches(planned: Sequence[Stage]) -> Iterator[EpisodeBatch]:
    """The stages in parts of at most `NUM_ENVS` episodes."""
    number = start = 0
    for stage in planned:
        for done in range(0, stage.count, NUM_ENVS):
            size = min(NUM_ENVS, stage.count - done)
            yield EpisodeBatch(number, start, replace(stage, count=size))
            number, start = number + 1, start + size


def _play(
    env: VectorEnv, batch: EpisodeBatch, recipe: Recipe, progress: Progress
) -> tuple[Episodes, np.ndarray]:
    seed = batch_seed(derived(recipe.task, recipe.quality, recipe.seed), batch.number)
    actor = tiers.start(
        env,
        batch.stage,
        seed=derived(recipe.task, recipe.seed),
        rng=np.random.default_rng([seed, 1]),
        progress=progress,
    )

    def on_step(_: int) -> None:
        progress(_title(recipe), batch.start, recipe.num_episodes)

    return play(env, actor, seed=seed, on_step=on_step)


def _title(recipe: Recipe) -> str:
    return f"{recipe.task} {recipe.quality}"


def derived(*names: str | int) -> int:
    """A seed of 63 bits: other tasks and qualities play other episodes."""
    return int.from_bytes(hashlib.sha256(json.dumps(names).encode()).digest()[:8], "big") >> 1

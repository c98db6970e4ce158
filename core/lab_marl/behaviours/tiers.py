"""How each family's cheap policies play the qualities of offline data."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from labrun.errors import LabError

from lab_marl.behaviours import battle, grid, mamujoco, smax, spread, tag
from lab_marl.behaviours.qualities import Quality, Tier
from lab_marl.environments.battle import BattleEnv
from lab_marl.environments.grid import GridEnv
from lab_marl.environments.interface import Actor, Frame, VectorEnv
from lab_marl.environments.smax.battles import SmaxEnv
from lab_marl.episodes.layouts import Layout

Progress = Callable[[str, int, int], None]
"""(what is made, how much of it is done, how much it is in all), called often."""

EPSILON: Mapping[str, Mapping[Tier, float]] = {
    "grid": {"expert": 0.0, "medium": 0.05},
    "battle": {"expert": 0.0, "medium": 0.2},
    "smax": {"expert": 0.0, "medium": 0.1},
    "spread": {"expert": spread.TIERS["expert"], "medium": spread.TIERS["medium"]},
    "tag": {"expert": tag.TIERS["expert"], "medium": tag.TIERS["medium"]},
    "mamujoco": {"expert": 0.0, "medium": 0.0},
}
"""Probability with which an agent's action is drawn at random. A tier may differ in its policy too:
the grid's medium agents settle at the nearest landmark, SMAX's are JaxMARL's heuristic policy,
MaMuJoCo's is an earlier iterate."""
GRID_KINDS: Mapping[Tier, grid.Kind] = {"expert": "planned", "medium": "settled"}
SMAX_KINDS: Mapping[Tier, smax.Kind] = {"expert": "focus", "medium": "heuristic"}
SEARCH_ITERATIONS = 60
"""Of the augmented random search for MaMuJoCo's policies (32 episodes each)."""
REPLAY_LEVELS = 10
REPLAY_START = 1.0
"""medium-replay is played by the medium policy. It begins with this noise (1: every action at
random), which falls to medium's in `REPLAY_LEVELS` even steps."""


@dataclass(frozen=True)
class Stage:
    """`count` episodes that are played alike."""

    tier: Tier
    epsilon: float
    count: int


def check(layout: Layout) -> None:
    """Raises LabError for a family without a cheap policy."""
    if layout.family not in EPSILON:
        raise LabError(
            f"task {layout.task!r} has no cheap policy to make data with; "
            "set dataset.path to a folder that holds its episodes"
        )


def stages(layout: Layout, quality: Quality, num_episodes: int) -> list[Stage]:
    """The stages of a quality, in the order in which they are played; counts add up.

    medium-expert is half medium, then half expert.
    """
    check(layout)
    epsilon = EPSILON[layout.family]
    levels: list[tuple[Tier, float]]
    if quality == "medium-expert":
        levels = [("medium", epsilon["medium"]), ("expert", epsilon["expert"])]
    elif quality == "medium-replay":
        falling = np.linspace(REPLAY_START, epsilon["medium"], REPLAY_LEVELS)
        levels = [("medium", round(float(level), 6)) for level in falling]
    else:
        levels = [(quality, epsilon[quality])]
    bounds = [num_episodes * i // len(levels) for i in range(len(levels) + 1)]
    counts = np.diff(bounds).tolist()
    return [
        Stage(tier, level, count)
        for (tier, level), count in zip(levels, counts, strict=True)
        if count
    ]


def start(
    env: VectorEnv, stage: Stage, *, seed: int, rng: np.random.Generator, progress: Progress
) -> Actor:
    """An actor of the stage for one batch of episodes.

    `seed` is that of the search for a policy, where there is one; `progress` follows it.
    """
    family, epsilon = env.layout.family, stage.epsilon
    if family == "mamujoco":
        found = _search(env.layout.task, seed, progress)
        actor = mamujoco.start(env, found=found, tier=stage.tier, rng=rng)
        return with_random_joints(actor, epsilon=epsilon, rng=rng)
    if family == "grid":
        assert isinstance(env, GridEnv)
        return grid.start(env, kind=GRID_KINDS[stage.tier], epsilon=epsilon, rng=rng)
    if family == "battle":
        assert isinstance(env, BattleEnv)
        return battle.start(env, epsilon=epsilon, rng=rng)
    if family == "smax":
        assert isinstance(env, SmaxEnv)
        return smax.start(env, kind=SMAX_KINDS[stage.tier], epsilon=epsilon, rng=rng)
    scripted = {"spread": spread.start, "tag": tag.start}[family]
    return scripted(env, epsilon=epsilon, rng=rng)


_FOUND: dict[tuple[str, int], mamujoco.Found] = {}
"""Policies found in this process: a sweep over qualities searches once for each task."""


def _search(task: str, seed: int, progress: Progress) -> mamujoco.Found:
    if (task, seed) not in _FOUND:
        what = f"policies of {task}"
        _FOUND[task, seed] = mamujoco.search(
            task,
            seed=seed,
            iterations=SEARCH_ITERATIONS,
            on_progress=lambda made, total, _: progress(what, made, total),
        )
    return _FOUND[task, seed]


def with_random_joints(actor: Actor, *, epsilon: float, rng: np.random.Generator) -> Actor:
    """The actor, but each agent's actions are drawn uniformly from [-1, 1] with probability
    `epsilon`."""

    def act(frame: Frame, live: np.ndarray) -> np.ndarray:
        actions = actor(frame, live)
        swap = rng.random(actions.shape[:2]) < epsilon
        random = rng.uniform(-1, 1, actions.shape).astype(np.float32)
        return np.where(swap[..., None], random, actions)

    return act

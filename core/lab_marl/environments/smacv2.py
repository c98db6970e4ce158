"""SMACv2 (arXiv 2212.07489): the real game with random unit types and positions.

`terran_5_vs_5` is 5 Terran units against 5, protoss and zerg likewise, on the map 10gen_RACE. The
settings are the benchmark's own examples: types drawn with weights 0.45, 0.45 and 0.1, starts
surrounded or reflected with probability one half each, units' own ranges, own position in the
observation, no field of view; enemies are seen by everybody in sight (`prob_obs_enemy` 1). Equal
seeds draw equal teams and positions; the chances of the game itself go on as in `smac`.

Terran teams may not outnumber their enemies: medivacs heal, and the game then has an action for
each ally, which no layout can say.
"""

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from labrun.errors import LabError

from lab_marl.environments.serial import SerialEnv
from lab_marl.environments.smac import Game, battles, check_game, load
from lab_marl.environments.smac_layout import smac_layout
from lab_marl.episodes.layouts import Layout

SOURCE = "git+https://github.com/oxwhirl/smacv2.git"
EPISODE_LIMIT = 200
NUM_TYPES = 3
FIELD = 32
"""Width and height of the field, in the game's units."""
MAP_FILE = "32x32_flat.SC2Map"

examples = ("terran_5_vs_5", "protoss_5_vs_5", "zerg_10_vs_11")


@dataclass(frozen=True)
class Race:
    """The units that a team is drawn from."""

    units: tuple[str, str, str]
    weights: tuple[float, float, float]
    never_alone: tuple[str, ...] = ()
    """Units that cannot be the whole team."""
    shields: bool = False


RACES = {
    "terran": Race(("marine", "marauder", "medivac"), (0.45, 0.45, 0.1), ("medivac",)),
    "protoss": Race(("stalker", "zealot", "colossus"), (0.45, 0.45, 0.1), shields=True),
    "zerg": Race(("zergling", "baneling", "hydralisk"), (0.45, 0.1, 0.45), ("baneling",)),
}


def owns(task: str) -> bool:
    return re.fullmatch(r"(terran|protoss|zerg)_[1-9]\d?_vs_[1-9]\d?", task) is not None


def parsed(task: str) -> tuple[str, int, int]:
    """Race, agents, enemies."""
    if not owns(task):
        raise LabError(f"no SMACv2 task {task!r}; known are names such as: {', '.join(examples)}")
    race, num_agents, _, num_enemies = task.split("_")
    if race == "terran" and int(num_agents) > int(num_enemies):
        raise LabError(
            f"task {task!r} has more agents than enemies: medivacs then have actions for allies, "
            f"which no layout describes; take at least {num_agents} enemies"
        )
    return race, int(num_agents), int(num_enemies)


def layout(task: str) -> Layout:
    """SMAC's layout, with the agent's position before its types at the observation's end."""
    race, num_agents, num_enemies = parsed(task)
    return smac_layout(
        task,
        family="smacv2",
        allies=num_agents,
        enemies=num_enemies,
        episode_limit=EPISODE_LIMIT,
        types=NUM_TYPES,
        ally_shields=RACES[race].shields,
        enemy_shields=RACES[race].shields,
        own_extra=2,
    )


def make(task: str, num_envs: int) -> SerialEnv:
    """One process of the game for each copy, started at its first reset.

    Raises LabError where the package, the game or the map is missing, or is another one.
    """
    race, num_agents, num_enemies = parsed(task)
    wrapper = load("smacv2.env.starcraft2.wrapper", SOURCE)
    check_game([MAP_FILE])

    def launch(seed: int) -> Game:
        return wrapper.StarCraftCapabilityEnvWrapper(
            map_name=f"10gen_{race}",
            capability_config=capabilities(RACES[race], num_agents, num_enemies),
            seed=seed,
            continuing_episode=True,
            use_unit_ranges=True,
            min_attack_range=2,
            obs_own_pos=True,
            conic_fov=False,
            prob_obs_enemy=1.0,
        )

    return battles(layout(task), launch, num_envs, begin=begin)


def capabilities(race: Race, num_agents: int, num_enemies: int) -> dict[str, Any]:
    """How teams and positions are drawn, in the package's terms; a new one for each game, since
    the package writes into it."""
    return {
        "n_units": num_agents,
        "n_enemies": num_enemies,
        "team_gen": {
            "dist_type": "weighted_teams",
            "unit_types": list(race.units),
            "weights": list(race.weights),
            "exception_unit_types": list(race.never_alone),
            "observe": True,
        },
        "start_positions": {
            "dist_type": "surrounded_and_reflect",
            "p": 0.5,
            "map_x": FIELD,
            "map_y": FIELD,
        },
    }


def begin(game: Any, seed: int) -> None:
    """Next battle, its teams and positions drawn from the seed.

    The package draws from generators of its own, and shuffles with Python's global one, which is
    left as it was.
    """
    draws = [part for top in game.env_key_to_distribution_map.values() for part in parts(top)]
    for part, own in zip(draws, np.random.SeedSequence(seed).spawn(len(draws)), strict=True):
        part.rng = np.random.default_rng(own)
    before = random.getstate()
    random.seed(seed)
    game.reset()
    random.setstate(before)


def parts(distribution: Any) -> Iterator[Any]:
    """A distribution of the package and those that it consists of, where they draw at random."""
    if hasattr(distribution, "rng"):
        yield distribution
    for value in vars(distribution).values():
        if hasattr(value, "generate"):
            yield from parts(value)

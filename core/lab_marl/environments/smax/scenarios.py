"""The battles of SMAX by name, and where their units lie in its vectors; needs no JAX."""

import re
from dataclasses import dataclass

from labrun.errors import LabError

from lab_marl.episodes.layouts import EntityBlock, Layout

PREFIX = "smax-"
UNITS = {"m": "marine", "s": "stalker", "z": "zealot", "h": "hydralisk"}
"""The letters of a name and what JaxMARL calls these units."""
TYPE_BITS = 6
"""Kinds of unit that SMAX tells apart; of these SMACv2's teams are drawn."""
OWN_FEATURES = ("health", "position_x", "position_y", "weapon_cooldown")
"""Before the bits of its kind: of an agent in its observation, of every unit in the state."""
UNIT_FEATURES = (
    "health",
    "position_x",
    "position_y",
    "last_movement_x",
    "last_movement_y",
    "last_targeted",
    "weapon_cooldown",
)
"""Of another unit in an observation, before the bits of its kind; positions relative to the
observer's."""
NUM_NON_ATTACK = 5
"""Actions up, right, down, left, stop."""
STOP = 4
EPISODE_LIMIT = 101
"""JaxMARL asks for its limit of 100 steps before it counts the step."""
MOST_UNITS = 50
"""Of one side, in the names that are taken."""

examples = ("smax-3m", "smax-5m_vs_6m", "smax-2s3z", "smax-smacv2_5_units")

_ARMY = rf"(?:[1-9]\d?[{''.join(UNITS)}])+"
_FIXED = re.compile(rf"({_ARMY})(?:_vs_({_ARMY}))?")
_DRAWN = re.compile(r"smacv2_([1-9]\d?)_units")


@dataclass(frozen=True)
class Scenario:
    """Two armies, one word for each unit; the words mean nothing where the teams are drawn."""

    allies: tuple[str, ...]
    enemies: tuple[str, ...]
    drawn: bool
    """Kinds and places are drawn anew for each episode, as in SMACv2; both teams are alike."""


def owns(task: str) -> bool:
    return _read(task) is not None


def parsed(task: str) -> Scenario:
    """What a task's name says. Raises LabError for a name that is none of SMAX."""
    scenario = _read(task)
    if scenario is None:
        raise LabError(f"no SMAX task {task!r}; known are names such as: {', '.join(examples)}")
    return scenario


def layout(task: str) -> Layout:
    """Observation: each ally, each enemy, the agent itself. State: each ally, each enemy."""
    scenario = parsed(task)
    n, m = len(scenario.allies), len(scenario.enemies)
    own, unit = len(OWN_FEATURES) + TYPE_BITS, len(UNIT_FEATURES) + TYPE_BITS
    allies = EntityBlock(0, n - 1, unit)
    enemies = EntityBlock(allies.stop, m, unit)
    state_allies = EntityBlock(0, n, own)
    state_enemies = EntityBlock(state_allies.stop, m, own)
    return Layout(
        task=task,
        family="smax",
        num_agents=n,
        num_enemies=m,
        num_non_attack=NUM_NON_ATTACK,
        attacks=True,
        obs_size=enemies.stop + own,
        state_size=state_enemies.stop,
        own=((enemies.stop, enemies.stop + own),),
        allies=allies,
        enemies=enemies,
        state_allies=state_allies,
        state_enemies=state_enemies,
        episode_limit=EPISODE_LIMIT,
    )


def _read(task: str) -> Scenario | None:
    name = task.removeprefix(PREFIX)
    drawn, fixed = _DRAWN.fullmatch(name), _FIXED.fullmatch(name)
    if drawn:
        allies = enemies = ("marine",) * int(drawn[1])
    elif fixed:
        allies, enemies = _army(fixed[1]), _army(fixed[2] or fixed[1])
    else:
        return None
    sizes = len(allies), len(enemies)
    named = task.startswith(PREFIX) and min(sizes[0] - 1, sizes[1]) >= 1
    return Scenario(allies, enemies, bool(drawn)) if named and max(sizes) <= MOST_UNITS else None


def _army(name: str) -> tuple[str, ...]:
    """`2s3z`: two stalkers, three zealots."""
    groups = re.findall(r"(\d+)([a-z])", name)
    return tuple(UNITS[letter] for count, letter in groups for _ in range(int(count)))

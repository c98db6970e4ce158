"""Units and maps of the battle environment.

Unit values are StarCraft II's published ones, per second of its normal speed (16 game loops).
Unit counts and episode limits are those of SMAC's maps and of the offline benchmark's further ones.
"""

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Unit:
    """One kind of unit; lengths in cells of the map."""

    health: float
    shield: float
    armor: float
    """Damage that each hit loses."""
    armored: bool
    damage: float
    """Of one hit, before armor."""
    bonus: float
    """Further damage of one hit against armored units."""
    hits: int
    """Hits of one attack."""
    cooldown_s: float
    """Seconds from one attack to the next."""
    reach: float
    """Distance from rim to rim at which it attacks."""
    speed: float
    """Per second."""
    radius: float
    cooldown_scale_s: float
    """The cooldown that SMAC shows as 1."""


UNITS = {
    "m": Unit(45, 0, 0, False, 6, 0, 1, 0.86, 5.0, 2.25, 0.375, 15 / 16),
    "s": Unit(80, 80, 1, True, 13, 5, 1, 1.87, 6.0, 2.95, 0.625, 35 / 16),
    "z": Unit(100, 50, 1, False, 8, 0, 2, 1.20, 0.1, 2.25, 0.5, 22 / 16),
}
"""Marine, stalker, zealot."""


@dataclass(frozen=True)
class Map:
    """Two teams; units of one kind stand side by side, one letter each."""

    allies: str
    enemies: str
    episode_limit: int
    enemy_cooldown: float
    """Factor on the enemies' cooldowns: the map's difficulty, 1 for equal arms."""

    @property
    def types(self) -> str:
        """Kinds of unit that are told apart, in the order of the allies' type bits."""
        return "" if set(self.allies + self.enemies) == {"m"} else "sz"

    @property
    def shields(self) -> bool:
        return any(UNITS[kind].shield for kind in self.allies + self.enemies)


_SETTINGS = {
    "3m": (60, 1.11),
    "4m": (75, 1.05),
    "5m": (90, 1.07),
    "6m": (100, 1.21),
    "7m": (110, 1.09),
    "8m": (120, 1.05),
    "9m": (120, 1.02),
    "10m": (120, 1.14),
    "11m": (150, 1.12),
    "12m": (150, 1.12),
    "5m_vs_6m": (70, 1.57),
    "7m_vs_8m": (90, 1.48),
    "8m_vs_9m": (120, 1.38),
    "9m_vs_10m": (140, 1.33),
    "10m_vs_11m": (150, 1.47),
    "10m_vs_12m": (160, 1.76),
    "13m_vs_15m": (160, 1.57),
    "1s3z": (120, 1.02),
    "1s4z": (130, 1.05),
    "1s5z": (140, 1.02),
    "2s3z": (120, 1.04),
    "2s4z": (130, 1.05),
    "2s5z": (150, 1.07),
    "3s3z": (140, 0.95),
    "3s4z": (140, 1.11),
    "3s5z": (150, 1.09),
    "4s3z": (150, 1.12),
    "4s4z": (150, 1.09),
    "4s5z": (160, 1.07),
    "4s6z": (170, 1.14),
}
"""(episode limit, enemy cooldown), the second such that focus fire wins about nine battles in ten
(`behaviours/battle.py`, no noise)."""


def _team(text: str) -> str:
    """`2s3z` as `sszzz`."""
    return "".join(kind * int(count) for count, kind in re.findall(r"(\d+)([msz])", text))


def _map(name: str, episode_limit: int, enemy_cooldown: float) -> Map:
    allies, _, enemies = name.partition("_vs_")
    return Map(_team(allies), _team(enemies or allies), episode_limit, enemy_cooldown)


MAPS = {name: _map(name, *values) for name, values in _SETTINGS.items()}

"""Which module serves which task: `layout_of` and `make` for every family."""

from collections.abc import Sequence
from importlib import import_module
from typing import Any

import numpy as np
from labrun.errors import LabError

from lab_marl.environments.interface import VectorEnv
from lab_marl.episodes.episodes import Episodes
from lab_marl.episodes.layouts import Layout

FAMILIES = ("grid", "battle", "smax", "spread", "tag", "mamujoco", "smac", "smacv2")
"""Modules of this package, in the order in which they are asked. Each has `owns(task)`,
`layout(task)`, `make(task, num_envs)` and `examples`, and imports its simulator only in `make`."""
WITHOUT_GOAL = ("mamujoco",)
"""Families whose episodes have a return and nothing to reach: they have no win rate."""

WITHOUT_MASKS = ("spread", "tag")
"""Families of discrete tasks in which every action is allowed at any time."""


def layout_of(task: str) -> Layout:
    """The layout of a task; needs no simulator. Raises LabError for an unknown name."""
    return _family(task).layout(task)


def has_goal(task: str) -> bool:
    """Whether an episode of the task can be won."""
    return layout_of(task).family not in WITHOUT_GOAL


def has_masks(layout: Layout) -> bool:
    """Whether the task forbids some actions at some times."""
    return not layout.continuous and layout.family not in WITHOUT_MASKS


def won(layout: Layout, episodes: Episodes) -> np.ndarray | None:
    """[E] bool: which recorded episodes were won, told by the reward of their last transition.

    None for families whose rewards don't say it.
    """
    last = np.take_along_axis(episodes.reward, episodes.lengths[:, None] - 2, axis=1)[:, 0]
    if layout.family == "grid":
        return last > 0
    if layout.family in ("battle", "smac"):
        return battle_won(layout, last)
    if layout.family == "smax":  # a victory is worth 1, and a step's damage 1 at most
        return last > 1
    return None


def battle_won(layout: Layout, last: np.ndarray) -> np.ndarray | None:
    """[E] bool, from the last reward; None for a map whose units are not known here.

    A victory is worth `WIN_VALUE`, more than one step can bring otherwise.
    """
    battle = _module("battle")
    task = layout.task if layout.family == "battle" else f"battle-{layout.task}"
    if not battle.owns(task):
        return None
    return last >= battle.make(task, 1).scale * battle.WIN_VALUE


def make(task: str, num_envs: int) -> VectorEnv:
    """`num_envs` copies of a task with the family's own settings.

    Raises LabError for an unknown name, or where the family's simulator is not installed.
    """
    return _family(task).make(task, num_envs)


def start_one_of_each_family(layouts: Sequence[Layout]) -> None:
    """Raises LabError where the simulator of one of the tasks is missing."""
    for task in {layout.family: layout.task for layout in layouts}.values():
        make(task, 1)


def _family(task: str) -> Any:
    for module in map(_module, FAMILIES):
        if module.owns(task):
            return module
    known = "; ".join(", ".join(_module(name).examples) for name in FAMILIES)
    raise LabError(f"no task {task!r}; known are names such as: {known}")


def _module(name: str) -> Any:
    return import_module(f"{__name__}.{name}")

"""SMAC, the StarCraft Multi-Agent Challenge (arXiv 1902.04043): the real game behind an adapter.

Tasks are maps: `3m`, `5m_vs_6m`, `2s3z`. Their sizes are known here, so that a layout and published
data need neither the package nor the game; `make` needs both. The maps that SMAC itself does not
have (`4m`, `7m_vs_8m`, `1s3z`, ...) are those of the multi-task benchmark (LAMDA-RL/ODIS,
smac_patch); the adapter registers them with SMAC. The game decides its chances itself: a copy is
started with the seed of its first reset, and later resets go on in the same game, whatever their
seed. Equal episodes therefore need equal histories.
"""

import os
import re
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from labrun.errors import LabError, unknown

from lab_marl.environments.serial import Result, SerialEnv, View
from lab_marl.environments.smac_layout import smac_layout
from lab_marl.episodes.layouts import Layout

SOURCE = "git+https://github.com/oxwhirl/smac.git"
INSTALLER = "infra/install_sc2.sh"

LIMITS = {
    name: limit
    for limit, names in {
        60: "3m 4m_vs_5m",
        70: "5m_vs_6m",
        75: "4m",
        80: "6m_vs_7m",
        90: "5m 7m_vs_8m",
        100: "6m",
        110: "7m",
        120: "8m 9m 10m 8m_vs_9m 1s3z 2s3z",
        130: "1s4z 2s4z",
        140: "9m_vs_10m 1s5z 3s3z 3s4z",
        150: "11m 12m 25m 10m_vs_11m 2s5z 3s5z 4s3z 4s4z",
        160: "11m_vs_12m 10m_vs_12m 13m_vs_15m 4s5z",
        170: "4s6z 3s5z_vs_3s6z",
        180: "27m_vs_30m 3s6z_vs_3s7z 4s5z_vs_4s6z",
        200: "4s6z_vs_4s7z",
    }.items()
    for name in names.split()
}
"""Steps of an episode at most, of every map of marines, or of stalkers and zealots."""

examples = ("3m", "5m_vs_6m", "2s3z")


@dataclass(frozen=True)
class Map:
    """What a map's name says."""

    name: str
    num_agents: int
    num_enemies: int
    stalkers: bool
    """Stalkers and zealots, with shields and two bits of type; else marines."""

    @property
    def parameters(self) -> dict[str, object]:
        """The map as SMAC's own registry describes one."""
        race = "P" if self.stalkers else "T"
        return {
            "n_agents": self.num_agents,
            "n_enemies": self.num_enemies,
            "limit": LIMITS[self.name],
            "a_race": race,
            "b_race": race,
            "unit_type_bits": 2 if self.stalkers else 0,
            "map_type": "stalkers_and_zealots" if self.stalkers else "marines",
        }


class Game(Protocol):
    """The methods of SMAC's StarCraft2Env that the adapter uses."""

    def get_env_info(self) -> Mapping[str, Any]: ...
    def reset(self) -> object: ...
    def step(self, actions: Any) -> tuple[float, bool, Mapping[str, Any]]: ...
    def get_obs(self) -> Any: ...
    def get_state(self) -> Any: ...
    def get_avail_agent_actions(self, agent_id: int) -> Any: ...
    def close(self) -> None: ...


Launch = Callable[[int], Game]
"""A game that will be started with this seed; nothing runs before its first reset."""
Begin = Callable[[Game, int], None]
"""Begins a battle with a seed."""


def owns(task: str) -> bool:
    return task in LIMITS


def parsed(task: str) -> Map:
    """What a map's name says: units of each side, and of the one side twice without `_vs_`."""
    if task not in LIMITS:
        raise unknown("SMAC map", task, LIMITS)
    sides = task.split("_vs_")
    counts = [sum(map(int, re.findall(r"\d+", side))) for side in sides]
    return Map(task, counts[0], counts[-1], stalkers="z" in task)


def layout(task: str) -> Layout:
    found = parsed(task)
    return smac_layout(
        task,
        family="smac",
        allies=found.num_agents,
        enemies=found.num_enemies,
        episode_limit=LIMITS[task],
        types=2 if found.stalkers else 0,
        ally_shields=found.stalkers,
        enemy_shields=found.stalkers,
    )


def make(task: str, num_envs: int) -> SerialEnv:
    """One process of the game for each copy, started at its first reset.

    Raises LabError where the package, the game or the map is missing, or is another one.
    """
    found = parsed(task)
    starcraft = load("smac.env", SOURCE)
    check_game([f"{task}.SC2Map"])
    register(found)

    def launch(seed: int) -> Game:
        return starcraft.StarCraft2Env(map_name=task, seed=seed, continuing_episode=True)

    return battles(layout(task), launch, num_envs)


def begin(game: Game, seed: int) -> None:
    """Next battle; SMAC's starts do not depend on chance, and its game takes no second seed."""
    game.reset()


def battles(layout: Layout, launch: Launch, num_envs: int, *, begin: Begin = begin) -> SerialEnv:
    """Copies of a game. Raises LabError where the game's sizes are not the layout's."""
    probe = launch(0)
    check_sizes(layout, probe.get_env_info())
    probe.close()
    return SerialEnv(layout, [Battle(layout, launch, begin) for _ in range(num_envs)])


class Battle:
    """One copy of a game that was launched with `continuing_episode`: it then says whether an
    episode was cut off at its limit, and does nothing else differently."""

    def __init__(self, layout: Layout, launch: Launch, begin: Begin) -> None:
        self.layout, self.launch, self.begin = layout, launch, begin
        self.game: Game | None = None

    def reset(self, seed: int) -> View:
        if self.game is None:
            self.game = self.launch(seed)
            # An evaluation drops its copies; their processes must not outlive them.
            weakref.finalize(self, self.game.close)
        self.begin(self.game, seed)
        return self._view(self.game)

    def step(self, actions: np.ndarray) -> tuple[View, Result]:
        assert self.game is not None, "reset first"
        reward, over, info = self.game.step([int(action) for action in actions])
        if "battle_won" not in info:
            raise RuntimeError("StarCraft II lost its connection in the middle of an episode")
        terminated = over and not info.get("episode_limit", False)
        return self._view(self.game), Result(float(reward), terminated, bool(info["battle_won"]))

    def _view(self, game: Game) -> View:
        agents = range(self.layout.num_agents)
        return View(
            obs=np.asarray(game.get_obs()),
            state=np.asarray(game.get_state()),
            avail_actions=np.array([game.get_avail_agent_actions(i) for i in agents], bool),
        )


def check_sizes(layout: Layout, info: Mapping[str, Any]) -> None:
    """Raises LabError that names every size in which a game's env info differs from the layout."""
    expected = {
        "obs_shape": layout.obs_size,
        "state_shape": layout.state_size,
        "n_actions": layout.num_actions,
        "n_agents": layout.num_agents,
        "episode_limit": layout.episode_limit,
    }
    wrong = [
        f"{name} {info.get(name)} against {value}"
        for name, value in expected.items()
        if info.get(name) != value
    ]
    if wrong:
        raise LabError(
            f"task {layout.task!r}: the installed game differs from the layout in "
            f"{', '.join(wrong)}; install the versions of {INSTALLER}"
        )


def load(module: str, source: str) -> Any:
    """A module of SMAC or SMACv2. Raises LabError that says what is missing or wrong."""
    name = module.partition(".")[0]
    spec = find_spec(name)
    if spec is None:
        raise LabError(
            f"{name} is not installed; run {INSTALLER}, or pip install {source}; "
            "rollout.episodes=0 trains without the game"
        )
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()]
    if not any((folder / "env").is_dir() for folder in folders):
        raise LabError(
            f"the installed package {name} is another tool (the package index's SMAC3, which tunes "
            f"hyperparameters); run: pip uninstall {name}, then pip install {source}"
        )
    try:
        return import_module(module)
    except ImportError as error:
        raise LabError(
            f"{name} cannot be imported: {error}; install it as {INSTALLER} does"
        ) from error
    except TypeError as error:
        # protobuf 4 and later raise it for message classes that were generated before them.
        raise LabError(
            f"{name} cannot be imported: {str(error).splitlines()[0]} Where messages are too "
            "old for this protobuf, set PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION=python"
        ) from error


def check_game(files: Sequence[str]) -> None:
    """Raises LabError where the game's folder lacks the game or one of the map files."""
    folder = Path(os.environ.get("SC2PATH") or "~/StarCraftII").expanduser()
    if not (folder / "Versions").is_dir():
        raise LabError(
            f"no StarCraft II in {folder}; set SC2PATH to its folder, or run {INSTALLER}; "
            "rollout.episodes=0 trains without the game"
        )
    maps = folder / "Maps" / "SMAC_Maps"
    missing = [name for name in files if not (maps / name).is_file()]
    if missing:
        raise LabError(f"no {', '.join(missing)} in {maps}; {INSTALLER} installs them")


def register(found: Map) -> None:
    """Tells SMAC and pysc2 of a map that SMAC itself does not have."""
    maps = import_module("smac.env.starcraft2.maps.smac_maps")
    registry = maps.get_smac_map_registry()
    if found.name not in registry:
        registry[found.name] = found.parameters
        # pysc2 finds maps as classes, by the name of the class.
        setattr(maps, found.name, type(found.name, (maps.SMACMap,), {"filename": found.name}))

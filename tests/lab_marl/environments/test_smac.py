"""The adapter of the real SMAC, against recorded sizes and a game made by hand."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from lab_marl.environments import smac
from lab_marl.environments.serial import SerialEnv
from labrun.errors import LabError

# get_env_info of the game: obs_shape, state_shape, n_actions, n_agents, episode_limit.
RECORDED = {
    "3m": (30, 48, 9, 3, 60),
    "5m_vs_6m": (55, 98, 12, 5, 70),
    "8m": (80, 168, 14, 8, 120),
    "27m_vs_30m": (285, 1170, 36, 27, 180),
    "2s3z": (80, 120, 11, 5, 120),
    "3s5z": (128, 216, 14, 8, 150),
    "3s5z_vs_3s6z": (136, 230, 15, 8, 170),
}
SIZES = ("obs_shape", "state_shape", "n_actions", "n_agents", "episode_limit")
STOP = [1, 1, 1]


class Game:
    """StarCraft2Env's methods on arrays: every number shows the step; agent 2 is dead from step 1.

    Ends, won, after `length` steps, or unwon at the limit. After `length` steps without `wins`
    the connection breaks.
    """

    def __init__(self, map_name: str, seed: int, continuing_episode: bool) -> None:
        assert continuing_episode
        self.map_name, self.seed = map_name, seed
        self.length, self.wins = 2, True
        self.battles = self.steps = 0
        self.closed = False
        self.played: list[list[int]] = []

    def get_env_info(self) -> dict[str, object]:
        layout = smac.layout(self.map_name)
        sizes = (layout.obs_size, layout.state_size, layout.num_actions, layout.num_agents)
        return dict(zip(SIZES, (*sizes, layout.episode_limit), strict=True))

    def reset(self) -> None:
        self.battles, self.steps = self.battles + 1, 0

    def step(self, actions: list[int]) -> tuple[float, bool, dict[str, bool]]:
        self.played.append(actions)
        self.steps += 1
        if self.steps == self.length and not self.wins:
            return 0, True, {}
        limit = self.get_env_info()["episode_limit"]
        if self.steps == limit and self.steps < self.length:
            return 0.25, True, {"battle_won": False, "episode_limit": True}
        over = self.steps == self.length
        return 0.5, over, {"battle_won": over}

    def get_obs(self) -> list[np.ndarray]:
        info = self.get_env_info()
        return [np.full(info["obs_shape"], 10 * i + self.steps) for i in range(info["n_agents"])]

    def get_state(self) -> np.ndarray:
        return np.full(self.get_env_info()["state_shape"], self.steps, np.float32)

    def get_avail_agent_actions(self, agent_id: int) -> list[int]:
        dead = agent_id == 2 and self.steps > 0
        count = self.get_env_info()["n_actions"]
        return [1] + [0] * (count - 1) if dead else [0, 1, 1] + [0] * (count - 3)

    def close(self) -> None:
        self.closed = True


def played(num_envs: int = 1, **settings) -> tuple[SerialEnv, list[Game]]:
    """Copies of 3m, and the games in the order of their launch; the first one is the probe."""
    games: list[Game] = []

    def launch(seed: int) -> Game:
        game = Game("3m", seed, continuing_episode=True)
        for name, value in settings.items():
            setattr(game, name, value)
        games.append(game)
        return game

    return smac.battles(smac.layout("3m"), launch, num_envs), games


@pytest.mark.parametrize(("task", "recorded"), RECORDED.items())
def test_layouts_have_the_recorded_sizes(task, recorded):
    smac.check_sizes(smac.layout(task), dict(zip(SIZES, recorded, strict=True)))


def test_names_are_maps():
    assert smac.owns("3m")
    assert smac.owns("4s6z")
    assert not smac.owns("battle-3m")
    assert smac.parsed("3s5z_vs_3s6z") == smac.Map("3s5z_vs_3s6z", 8, 9, stalkers=True)
    with pytest.raises(LabError, match="no SMAC map '3mm'; did you mean '3m'"):
        smac.layout("3mm")


def test_a_map_is_described_in_smacs_own_terms():
    marines = smac.parsed("7m_vs_8m").parameters
    sizes = {"n_agents": 7, "n_enemies": 8, "limit": 90, "a_race": "T", "b_race": "T"}
    assert marines == sizes | {"unit_type_bits": 0, "map_type": "marines"}
    protoss = smac.parsed("1s3z").parameters
    sizes = {"n_agents": 4, "n_enemies": 4, "limit": 120, "a_race": "P", "b_race": "P"}
    assert protoss == sizes | {"unit_type_bits": 2, "map_type": "stalkers_and_zealots"}


def test_a_copy_shows_what_the_game_shows():
    env, games = played()
    frame = env.reset(0)
    assert frame.obs.shape == (1, 3, 30)
    assert frame.obs[0, :, 0].tolist() == [0, 10, 20]
    assert frame.avail_actions[0, 2, :3].tolist() == [False, True, True]
    frame, outcome = env.step(np.array([STOP]))
    assert games[1].played == [STOP]
    assert frame.obs[0, :, 29].tolist() == [1, 11, 21]
    assert frame.state[0].tolist() == [1] * 48
    assert frame.avail_actions[0, 2, :3].tolist() == [True, False, False]
    assert outcome.reward.tolist() == [0.5]
    assert not (outcome.terminated | outcome.truncated | outcome.won).any()


def test_a_won_battle_is_over():
    env, _ = played()
    env.reset(0)
    env.step(np.array([STOP]))
    outcome = env.step(np.array([[1, 1, 0]]))[1]
    assert (outcome.terminated[0], outcome.truncated[0], outcome.won[0]) == (True, False, True)


def test_a_battle_at_its_limit_is_cut_off_and_not_over():
    env, _ = played(length=99)
    env.reset(0)
    outcomes = [env.step(np.array([[1, 1, int(t == 0)]]))[1] for t in range(60)]
    assert not any(o.terminated[0] or o.truncated[0] or o.won[0] for o in outcomes[:59])
    last = outcomes[59]
    assert (last.terminated[0], last.truncated[0], last.won[0]) == (False, True, False)
    assert last.reward[0] == 0.25


def test_a_battle_that_ends_at_its_limit_is_over():
    env, _ = played(length=60)
    env.reset(0)
    for t in range(60):
        outcome = env.step(np.array([[1, 1, int(t == 0)]]))[1]
    assert (outcome.terminated[0], outcome.truncated[0], outcome.won[0]) == (True, False, True)


def test_a_lost_connection_ends_the_run_and_is_no_lost_battle():
    env, _ = played(length=1, wins=False)
    env.reset(0)
    with pytest.raises(RuntimeError, match="lost its connection"):
        env.step(np.array([STOP]))


def test_a_game_is_launched_once_with_the_first_seed_and_the_probe_is_closed():
    env, games = played(num_envs=2)
    assert [game.closed for game in games] == [True]
    env.reset(5)
    env.reset(6)
    seeds = np.random.SeedSequence(5).generate_state(2).tolist()
    assert [(game.seed, game.battles) for game in games[1:]] == [(seed, 2) for seed in seeds]


def test_the_games_of_dropped_copies_are_closed():
    env, games = played(num_envs=2)
    env.reset(0)
    assert [game.closed for game in games[1:]] == [False, False]
    del env
    assert [game.closed for game in games[1:]] == [True, True]


def test_a_game_of_other_sizes_is_refused_with_both_numbers():
    info = {**dict(zip(SIZES, RECORDED["3m"], strict=True)), "obs_shape": 33, "n_actions": 10}
    with pytest.raises(LabError, match="obs_shape 33 against 30, n_actions 10 against 9"):
        smac.check_sizes(smac.layout("3m"), info)
    # 5m: 4 moves, 5 enemies and 4 allies of 5, own health
    with pytest.raises(
        LabError, match=r"'5m': .* obs_shape 30 against 50, .* n_agents 3 against 5"
    ):
        smac.battles(smac.layout("5m"), lambda seed: Game("3m", seed, continuing_episode=True), 1)


@pytest.fixture
def packages(tmp_path, monkeypatch) -> Iterator[Path]:
    """A folder on the path for packages named smac; they are forgotten afterwards."""
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.partition(".")[0] == "smac":
            del sys.modules[name]


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    importlib.invalidate_caches()


def test_a_missing_package_names_its_source():
    with pytest.raises(
        LabError, match=r"no_smac is not .*install_sc2.sh.*git\+https.*; rollout.episodes=0 "
    ):
        smac.load("no_smac.env", smac.SOURCE)


def test_the_hyperparameter_tuner_of_the_same_name_is_told_apart(packages):
    write(packages, {"smac/__init__.py": "", "smac/facade/__init__.py": ""})
    with pytest.raises(LabError, match=r"another tool .*SMAC3.*pip uninstall smac"):
        smac.make("3m", 1)


def test_a_package_without_its_own_dependencies_names_the_missing_one(packages):
    write(packages, {"smac/__init__.py": "", "smac/env/__init__.py": "import no_such_pysc2"})
    with pytest.raises(LabError, match=r"No module named 'no_such_pysc2'.*install_sc2.sh"):
        smac.make("3m", 1)


def test_messages_too_old_for_protobuf_name_the_switch(packages):
    broken = "raise TypeError('Descriptors cannot be created directly.\\nIf this call came from')"
    write(packages, {"smac/__init__.py": "", "smac/env/__init__.py": broken})
    with pytest.raises(
        LabError, match=r"directly\. .*PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION=python"
    ):
        smac.make("3m", 1)


REGISTRY = """
class SMACMap:
    directory = "SMAC_Maps"

registry = {"3m": {"limit": 60}}

def get_smac_map_registry():
    return registry
"""


@pytest.fixture
def installed(packages, monkeypatch) -> Path:
    """A package smac with the map 3m, and the folder of a game with the maps 3m and 4m."""
    write(
        packages,
        {
            "smac/__init__.py": "",
            "smac/env/__init__.py": "StarCraft2Env = None",
            "smac/env/starcraft2/maps/smac_maps.py": REGISTRY,
            "StarCraftII/Versions/Base75689": "",
            "StarCraftII/Maps/SMAC_Maps/3m.SC2Map": "",
            "StarCraftII/Maps/SMAC_Maps/4m.SC2Map": "",
        },
    )
    monkeypatch.setenv("SC2PATH", str(packages / "StarCraftII"))
    importlib.import_module("smac.env").StarCraft2Env = Game
    return packages


def test_a_map_that_smac_lacks_is_registered_once(installed):
    maps = importlib.import_module("smac.env.starcraft2.maps.smac_maps")
    for _ in range(2):
        env = smac.make("4m", 2)
        added = vars(maps)["4m"]
    assert env.reset(0).obs.shape == (2, 4, 40)
    assert maps.registry == {"3m": {"limit": 60}, "4m": smac.parsed("4m").parameters}
    assert (added.__name__, added.filename, added.directory) == ("4m", "4m", "SMAC_Maps")
    assert issubclass(added, maps.SMACMap)
    smac.make("4m", 1)
    assert vars(maps)["4m"] is added


def test_a_map_of_smacs_own_is_left_as_it_is(installed):
    smac.make("3m", 1)
    maps = importlib.import_module("smac.env.starcraft2.maps.smac_maps")
    assert maps.registry == {"3m": {"limit": 60}}


def test_a_missing_map_file_is_named(installed):
    with pytest.raises(LabError, match=r"no 5m\.SC2Map in .*SMAC_Maps; .*install_sc2\.sh"):
        smac.make("5m", 1)


def test_a_missing_game_names_sc2path(installed, monkeypatch):
    monkeypatch.setenv("SC2PATH", str(installed / "elsewhere"))
    with pytest.raises(LabError, match=r"no StarCraft II in .*elsewhere; set SC2PATH"):
        smac.make("3m", 1)
    monkeypatch.delenv("SC2PATH")
    monkeypatch.setenv("HOME", str(installed))
    smac.make("3m", 1)

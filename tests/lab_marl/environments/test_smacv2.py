"""The adapter of the real SMACv2, against recorded sizes and a game made by hand."""

import importlib
import random
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lab_marl.environments import smac, smacv2
from labrun.errors import LabError

SIZES = ("obs_shape", "state_shape", "n_actions", "n_agents", "episode_limit")


class Draw:
    """One of the package's distributions: a generator that nobody seeded, and Python's own."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng()

    def generate(self) -> list[float]:
        return [self.rng.random(), random.random()]


class Either:
    """A distribution that holds others and has a generator of its own."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng()
        self.one, self.other, self.threshold = Draw(), Draw(), 0.5

    def generate(self) -> list[float]:
        return [self.rng.random(), *self.one.generate(), *self.other.generate()]


class Wrapper:
    """StarCraftCapabilityEnvWrapper's methods on arrays; a reset draws a team and positions."""

    def __init__(self, *, map_name: str, capability_config: dict[str, Any], **settings) -> None:
        self.map_name, self.capabilities, self.settings = map_name, capability_config, settings
        self.env_key_to_distribution_map = {"team_gen": Draw(), "start_positions": Either()}
        self.drawn: list[float] = []

    @property
    def layout(self):
        counts = self.capabilities["n_units"], self.capabilities["n_enemies"]
        race = self.map_name.removeprefix("10gen_")
        return smacv2.layout(f"{race}_{counts[0]}_vs_{counts[1]}")

    def get_env_info(self) -> dict[str, int]:
        layout = self.layout
        sizes = (layout.obs_size, layout.state_size, layout.num_actions, layout.num_agents)
        return dict(zip(SIZES, (*sizes, layout.episode_limit), strict=True))

    def reset(self) -> None:
        draws = self.env_key_to_distribution_map.values()
        self.drawn = [number for draw in draws for number in draw.generate()]

    def step(self, actions: list[int]) -> tuple[float, bool, dict[str, bool]]:
        return 1.0, True, {"battle_won": True}

    def get_obs(self) -> list[np.ndarray]:
        return [np.zeros(self.layout.obs_size)] * self.layout.num_agents

    def get_state(self) -> np.ndarray:
        return np.resize(self.drawn, self.layout.state_size)

    def get_avail_agent_actions(self, agent_id: int) -> list[int]:
        return [0, 1] + [0] * (self.layout.num_actions - 2)

    def close(self) -> None:
        pass


def test_layouts_have_the_recorded_sizes():
    recorded = dict(zip(SIZES, (82, 120, 11, 5, 200), strict=True))
    smac.check_sizes(smacv2.layout("terran_5_vs_5"), recorded)
    # shields add one to each of 5 + 4 + 1 blocks of the observation and 5 + 5 of the state
    recorded = dict(zip(SIZES, (92, 130, 11, 5, 200), strict=True))
    smac.check_sizes(smacv2.layout("protoss_5_vs_5"), recorded)
    # 4 moves, 11 enemies and 9 allies of 8, own 6; state 10 x 7, 11 x 6, 10 x 17 actions
    recorded = dict(zip(SIZES, (4 + 88 + 72 + 6, 70 + 66 + 170, 17, 10, 200), strict=True))
    smac.check_sizes(smacv2.layout("zerg_10_vs_11"), recorded)


def test_own_features_are_moves_and_the_end_with_the_position():
    assert smacv2.layout("terran_5_vs_5").own == ((0, 4), (76, 82))


def test_names_say_race_and_numbers():
    assert smacv2.owns("protoss_10_vs_11")
    assert not any(smacv2.owns(name) for name in ("terran_5", "human_5_vs_5", "terran_0_vs_5"))
    assert smacv2.parsed("zerg_10_vs_11") == ("zerg", 10, 11)
    with pytest.raises(LabError, match="no SMACv2 task 'terran_5'"):
        smacv2.layout("terran_5")


def test_terran_teams_may_not_outnumber_their_enemies():
    with pytest.raises(LabError, match="'terran_6_vs_5' has more agents than enemies"):
        smacv2.layout("terran_6_vs_5")
    assert smacv2.layout("zerg_6_vs_5").num_actions == 11


def test_teams_are_drawn_as_in_the_benchmark():
    drawn = smacv2.capabilities(smacv2.RACES["zerg"], 10, 11)
    assert (drawn["n_units"], drawn["n_enemies"]) == (10, 11)
    team = drawn["team_gen"]
    weights = dict(zip(team["unit_types"], team["weights"], strict=True))
    assert weights == {"zergling": 0.45, "hydralisk": 0.45, "baneling": 0.1}
    assert team["exception_unit_types"] == ["baneling"]
    assert drawn["start_positions"]["dist_type"] == "surrounded_and_reflect"
    assert all(sum(race.weights) == pytest.approx(1) for race in smacv2.RACES.values())


@pytest.fixture
def installed(tmp_path, monkeypatch) -> Iterator[Path]:
    """A package smacv2 and the folder of a game with its map; forgotten afterwards."""
    for package in ("smacv2", "smacv2/env", "smacv2/env/starcraft2"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text("")
    wrapper = tmp_path / "smacv2/env/starcraft2/wrapper.py"
    wrapper.write_text("StarCraftCapabilityEnvWrapper = None")
    maps = tmp_path / "StarCraftII" / "Maps" / "SMAC_Maps"
    maps.mkdir(parents=True)
    (tmp_path / "StarCraftII" / "Versions").mkdir()
    (maps / "32x32_flat.SC2Map").write_text("")
    monkeypatch.setenv("SC2PATH", str(tmp_path / "StarCraftII"))
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    module = importlib.import_module("smacv2.env.starcraft2.wrapper")
    monkeypatch.setattr(module, "StarCraftCapabilityEnvWrapper", Wrapper)
    yield tmp_path
    for name in [name for name in sys.modules if name.partition(".")[0] == "smacv2"]:
        del sys.modules[name]


def test_a_copy_plays_the_races_map_with_the_benchmarks_settings(installed):
    env = smacv2.make("protoss_5_vs_5", 1)
    frame = env.reset(3)
    assert frame.obs.shape == (1, 5, 92)
    outcome = env.step(np.ones((1, 5), np.int64))[1]
    assert (outcome.terminated[0], outcome.won[0]) == (True, True)
    game = env.copies[0].game
    assert game.map_name == "10gen_protoss"
    seed = int(np.random.SeedSequence(3).generate_state(1)[0])
    views = {"obs_own_pos": True, "conic_fov": False, "prob_obs_enemy": 1.0}
    ranges = {"use_unit_ranges": True, "min_attack_range": 2}
    assert game.settings == views | ranges | {"seed": seed, "continuing_episode": True}


def test_equal_seeds_draw_equal_battles_in_new_and_old_games(installed):
    env, other = smacv2.make("terran_5_vs_5", 2), smacv2.make("terran_5_vs_5", 2)
    first = env.reset(1).state
    env.reset(2)
    np.testing.assert_array_equal(env.reset(1).state, first)
    np.testing.assert_array_equal(other.reset(1).state, first)
    assert not np.array_equal(env.reset(2).state, first)
    # in each copy two numbers for the team, one for the choice and two for each half: all differ
    assert len(set(first.ravel().tolist())) == 2 * (2 + 1 + 2 * 2)


def test_a_reset_leaves_pythons_generator_as_it_was(installed):
    env = smacv2.make("terran_5_vs_5", 1)
    random.seed(9)
    before = random.getstate()
    env.reset(1)
    assert random.getstate() == before


def test_a_missing_map_file_is_named(installed, monkeypatch):
    (installed / "StarCraftII/Maps/SMAC_Maps/32x32_flat.SC2Map").unlink()
    with pytest.raises(LabError, match=r"no 32x32_flat\.SC2Map in"):
        smacv2.make("terran_5_vs_5", 1)


def test_a_missing_package_names_its_source():
    if find_spec("smacv2"):
        pytest.skip("smacv2 is installed")
    with pytest.raises(LabError, match=r"smacv2 is not installed; .*oxwhirl/smacv2\.git"):
        smacv2.make("terran_5_vs_5", 1)

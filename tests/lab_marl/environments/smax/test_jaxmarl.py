"""SMAX itself: runs where the extra `smax` is installed."""

import json
import subprocess
import sys
import warnings

import numpy as np
import pytest
from lab_marl.datasets.generated import Recipe, generate
from lab_marl.environments import make, won
from lab_marl.environments.parallel import parallel_env
from lab_marl.environments.rollout import play
from lab_marl.environments.smax.process import shared
from lab_marl.environments.smax.scenarios import parsed
from lab_marl.episodes.episodes import Episodes
from smax_recording import SEEDS, arrays

pytest.importorskip("jaxmarl", reason="the extra smax is not installed")

TASK = "smax-2m_vs_3m"


@pytest.fixture(scope="module", autouse=True)
def _process():
    yield
    shared().close()


def played(copies: int, seed: int) -> tuple[Episodes, np.ndarray]:
    env = make(TASK, copies)
    return play(env, lambda frame, live: env.heuristic_actions(), seed=seed)


@pytest.fixture(scope="module")
def three() -> Episodes:
    return played(3, seed=4)[0]


def same(one: Episodes, other: Episodes) -> bool:
    pairs = zip(one.arrays(), other.arrays(), strict=True)
    return all((a == b).all() for (_, a), (_, b) in pairs)


def test_the_installed_version_plays_the_recorded_episode():
    recorded = arrays(TASK)
    env = make(TASK, 2)
    env.reset(0)  # makes the battles
    shown = env.process.ask("reset", env._number, SEEDS)
    for step, actions in enumerate(recorded["actions"], start=1):
        np.testing.assert_allclose(shown.obs, recorded["obs"][step - 1], atol=1e-4)
        np.testing.assert_array_equal(env.heuristic_actions(), actions)
        shown = env.process.ask("step", env._number, actions)
    np.testing.assert_array_equal(shown.terminated, recorded["terminated"][-1])


def test_equal_seeds_give_equal_episodes_and_others_do_not(three):
    assert same(three, played(3, seed=4)[0])
    assert not same(three, played(3, seed=5)[0])


def test_an_episode_does_not_depend_on_how_many_are_played_beside_it(three):
    many = played(40, seed=4)[0]  # two chunks
    first = Episodes(**{name: values[:3] for name, values in many.arrays()})
    assert same(three, first)


def test_battles_that_are_gone_are_forgotten():
    env = make(TASK, 1)
    env.reset(0)
    number = env._number
    del env
    assert number in shared().unneeded


def test_its_data_are_made_as_those_of_other_tasks():
    recipe = Recipe(TASK, "medium-expert", 6, 0)
    made = generate(recipe, lambda *_: None)
    assert same(made.episodes, generate(recipe, lambda *_: None).episodes)
    assert (won(recipe.layout, made.episodes) == made.won).all()
    assert recipe.policy() == "cheap smax policies, 3 medium with noise 0.1, 3 expert with noise 0"


def test_pettingzoos_own_test_passes():
    pytest.importorskip("pygame", reason="pettingzoo.test imports pygame")
    with warnings.catch_warnings():
        # The package imports games of its own that are deprecated.
        warnings.simplefilter("ignore", DeprecationWarning)
        from pettingzoo.test import parallel_api_test
    parallel_api_test(parallel_env(TASK), num_cycles=40)


KINDS = ["marine", "marauder", "stalker", "zealot", "zergling", "hydralisk"]


def test_jaxmarls_scenarios_are_ours_of_the_same_name():
    """In a process of its own: this one stays without JAX."""
    code = """
import json
from jaxmarl.environments.smax.smax_env import MAP_NAME_TO_SCENARIO as known
print(json.dumps({name: [one.unit_types.tolist(), one.num_allies, one.num_enemies,
    bool(one.smacv2_unit_type_generation)] for name, one in known.items()}))
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    known = json.loads(ran.stdout.splitlines()[-1])  # JaxMARL prints as it is imported
    assert len(known) == 14
    for name, (kinds, allies, enemies, is_drawn) in known.items():
        scenario = parsed(f"smax-{name}")
        ours = [KINDS.index(unit) for unit in scenario.allies + scenario.enemies]
        assert (ours, len(scenario.allies), len(scenario.enemies)) == (kinds, allies, enemies)
        assert scenario.drawn == is_drawn

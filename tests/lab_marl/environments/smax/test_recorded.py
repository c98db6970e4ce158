"""The layouts of SMAX against recorded episodes of JaxMARL, element by element; no JAX."""

import numpy as np
import pytest
from lab_marl import environments
from lab_marl.environments.rollout import play
from lab_marl.environments.smax.battles import SmaxEnv, check_sizes
from lab_marl.environments.smax.scenarios import parsed
from lab_marl.episodes.layouts import EntityBlock
from labrun.errors import LabError
from smax_recording import TASKS, Recording, arrays

# StarCraft's units as JaxMARL numbers them: marine, marauder, stalker, zealot, zergling, hydralisk.
HEALTH = np.array([45, 125, 160, 150, 35, 80], np.float32)
SIGHT = np.array([9, 10, 10, 9, 8, 9], np.float32)
REACH = np.array([5, 6, 6, 2, 2, 5], np.float32)
COOLDOWN = np.array([0.61, 1.07, 1.87, 0.86, 0.5, 0.59], np.float32)
FIELD = 32
NO_ATTACKS = 5


SIZES: dict[str, object] = {
    "num_non_attack": 5,
    "episode_limit": 101,
    "own features": ("health", "position_x", "position_y", "weapon_cooldown"),
    "unit features": (
        "health",
        "position_x",
        "position_y",
        "last_movement_x",
        "last_movement_y",
        "last_targeted",
        "weapon_cooldown",
    ),
    "type bits": 6,
}
OF_TASK: dict[str, dict[str, object]] = {
    "smax-2m_vs_3m": {"obs_size": 62, "state_size": 50, "num_agents": 2, "num_enemies": 3},
    "smax-smacv2_3_units": {"obs_size": 75, "state_size": 60, "num_agents": 3, "num_enemies": 3},
}


def replayed(task: str) -> tuple[SmaxEnv, Recording]:
    """An environment that shows what was recorded."""
    recording = Recording(task, SIZES | OF_TASK[task] | {"num_actions": 8})
    env = SmaxEnv(environments.layout_of(task), parsed(task), 2, process=recording)  # type: ignore[arg-type]
    return env, recording


def one_hot(kinds: np.ndarray) -> np.ndarray:
    return np.eye(6, dtype=np.float32)[kinds]


def block(vectors: np.ndarray, where: EntityBlock) -> np.ndarray:
    """[..., count, width]"""
    part = vectors[..., where.start : where.stop]
    return part.reshape(*part.shape[:-1], where.count, where.width)


@pytest.mark.parametrize("task", TASKS)
def test_an_agent_finds_itself_at_the_end_of_its_observation(task):
    layout, at = environments.layout_of(task), arrays(task)
    n = layout.num_agents
    kinds, health = at["types"][..., :n], at["health"][..., :n]
    ((start, stop),) = layout.own
    own = at["obs"][..., start:stop]
    cooldown = np.clip(at["weapon_cooldowns"][..., :n] / COOLDOWN[kinds], 0, 1)
    expected = np.concatenate(
        [
            (health / HEALTH[kinds])[..., None],
            at["positions"][..., :n, :] / FIELD,
            cooldown[..., None],
            one_hot(kinds),
        ],
        axis=-1,
    )
    np.testing.assert_allclose(own, expected * (health > 0)[..., None], atol=1e-5)


@pytest.mark.parametrize("task", TASKS)
def test_every_other_unit_in_sight_stands_in_its_slot(task):
    layout, at = environments.layout_of(task), arrays(task)
    n, m = layout.num_agents, layout.num_enemies
    most = np.array([5 + m - 1] * n + [5 + n - 1] * m)
    """The greatest action of each unit."""
    kinds, health = at["types"], at["health"]
    for agent in range(n):
        others = [j for j in range(n) if j != agent] + list(range(n, n + m))
        away = at["positions"][..., others, :] - at["positions"][..., agent, None, :]
        distance = np.linalg.norm(away, axis=-1)
        sight = SIGHT[kinds[..., agent]][..., None]
        seen = (distance < sight) & (health[..., others] > 0) & (health[..., agent, None] > 0)
        cooldown = at["weapon_cooldowns"][..., others] / COOLDOWN[kinds[..., others]]
        expected = np.concatenate(
            [
                (health[..., others] / HEALTH[kinds[..., others]])[..., None],
                away / sight[..., None],
                at["moves"][..., others, :],
                (at["attacks"][..., others] / most[others])[..., None],
                np.clip(cooldown, 0, 1)[..., None],
                one_hot(kinds[..., others]),
            ],
            axis=-1,
        )
        obs = at["obs"][..., agent, :]
        slots = [block(obs, layout.allies), block(obs, layout.enemies)]
        found = np.concatenate(slots, axis=-2)
        np.testing.assert_allclose(found, expected * seen[..., None], atol=1e-5)
        assert seen.any()
        assert not seen.all()


@pytest.mark.parametrize("task", TASKS)
def test_the_state_holds_every_living_unit_by_itself(task):
    layout, at = environments.layout_of(task), arrays(task)
    state, alive = at["state"], at["health"] > 0
    units = [block(state, layout.state_allies), block(state, layout.state_enemies)]
    expected = np.concatenate(
        [
            (at["health"] / HEALTH[at["types"]])[..., None],
            at["positions"] / FIELD,
            np.clip(at["weapon_cooldowns"] / COOLDOWN[at["types"]], 0, 1)[..., None],
            one_hot(at["types"]),
        ],
        axis=-1,
    )
    np.testing.assert_allclose(np.concatenate(units, -2), expected * alive[..., None], atol=1e-5)


@pytest.mark.parametrize("task", TASKS)
def test_action_5_and_i_attacks_enemy_i_where_the_weapon_reaches_it(task):
    layout, at = environments.layout_of(task), arrays(task)
    n = layout.num_agents
    away = at["positions"][..., :n, None, :] - at["positions"][..., None, n:, :]
    reach = REACH[at["types"][..., :n]][..., None]
    agents, enemies = at["health"][..., :n, None] > 0, at["health"][..., None, n:] > 0
    expected = (np.linalg.norm(away, axis=-1) < reach) & agents & enemies
    avail = at["avail_actions"]
    np.testing.assert_array_equal(avail[..., NO_ATTACKS:], expected)
    assert expected.any()
    np.testing.assert_array_equal(avail[..., :4], np.repeat(agents, 4, axis=-1))
    assert avail[..., 4].all()  # stop


@pytest.mark.parametrize("task", TASKS)
def test_the_reward_is_the_share_of_damage_and_one_for_the_battle(task):
    layout, at = environments.layout_of(task), arrays(task)
    n, share = layout.num_agents, at["health"] / HEALTH[at["types"]]
    lost = (share[:-1] - share[1:])[..., n:].sum(-1) / layout.num_enemies
    np.testing.assert_allclose(at["reward"][1:], lost + at["won"][1:], atol=1e-5)
    alive = at["health"] > 0
    beaten = alive[..., :n].any(-1) & ~alive[..., n:].any(-1)
    np.testing.assert_array_equal(at["won"].any(0), beaten[-1])
    assert (at["terminated"].sum(0) == 1).all()  # once, and never after


@pytest.mark.parametrize("task", TASKS)
def test_an_episode_is_recorded_from_its_start_to_its_end(task):
    layout, at = environments.layout_of(task), arrays(task)
    env, recording = replayed(task)
    episodes, won = play(env, lambda frame, live: env.heuristic_actions(), seed=0)
    ends = at["terminated"].argmax(0)  # frames after the reset
    np.testing.assert_array_equal(episodes.lengths - 1, ends)
    for copy, end in enumerate(ends):
        np.testing.assert_array_equal(episodes.obs[copy, : end + 1], at["obs"][: end + 1, copy])
        np.testing.assert_array_equal(episodes.reward[copy, :end], at["reward"][1 : end + 1, copy])
    np.testing.assert_array_equal(won, at["won"].any(0))
    np.testing.assert_array_equal(environments.won(layout, episodes), won)
    del env
    assert recording.unneeded == [1]


def test_a_forbidden_action_is_an_error_of_the_caller():
    env, _ = replayed(TASKS[0])
    env.reset(0)
    with pytest.raises(AssertionError, match="the mask forbids"):
        env.step(np.full((2, 2), NO_ATTACKS))  # the enemies are still out of reach


def test_another_jaxmarl_is_refused_with_what_differs():
    layout = environments.layout_of("smax-3m")
    own = {"obs_size": 80, "state_size": 60, "num_agents": 3, "num_enemies": 3, "num_actions": 8}
    sizes = SIZES | own | {"unit features": ("health",)}
    with pytest.raises(LabError, match=r"'smax-3m': .* obs_size 80 against 75; unit features") as e:
        check_sizes(layout, sizes)
    assert "labrun[smax]" in str(e.value)

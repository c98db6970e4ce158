"""Play of SMAX battles: single decisions worked out by hand."""

import numpy as np
import pytest
from lab_marl import environments
from lab_marl.behaviours import smax
from lab_marl.environments.interface import Frame
from lab_marl.environments.smax.battles import SmaxEnv
from lab_marl.environments.smax.scenarios import parsed
from labrun.errors import LabError

UP, RIGHT, DOWN, LEFT, STOP, ATTACK = 0, 1, 2, 3, 4, 5
REACH = 5
LIVE = np.ones(1, bool)


def battle() -> SmaxEnv:
    return SmaxEnv(environments.layout_of("smax-3m"), parsed("smax-3m"), 1)


def focus(units: list[tuple[float, float, float]], *, cooldown: float = 0.0) -> list[int]:
    """The actions of 3 agents among 3 enemies: share of health, x, y of each unit, agents first."""
    env = battle()
    health, places = np.array(units)[:, 0], np.array(units)[:, 1:]
    state = np.zeros((1, env.layout.state_size), np.float32)
    rows = state[0, :60].reshape(6, 10)
    rows[:, 0], rows[:, 1:3], rows[:3, 3] = health, places / 32, cooldown
    distance = np.linalg.norm(places[:3, None] - places[None, 3:], axis=-1)
    avail = np.ones((1, 3, 8), bool)
    avail[0, :, ATTACK:] = (distance < REACH) & (health[:3, None] > 0) & (health[None, 3:] > 0)
    act = smax.start(env, rng=np.random.default_rng(0))
    return act(Frame(np.zeros((1, 3, 75), np.float32), state, avail), LIVE)[0].tolist()


def test_focus_shoots_at_the_weakest_in_range_and_walks_to_the_nearest():
    # Agent 1 reaches enemies 1 and 2, agent 2 only enemy 1; agent 3 reaches nobody.
    units = [(1, 10, 10), (1, 8, 10), (1, 4, 10), (1, 12, 10), (0.4, 14, 10), (1, 4, 30)]
    assert focus(units) == [ATTACK + 1, ATTACK, RIGHT]
    # The fallen do nothing, and are neither shot at nor walked to.
    units = [(1, 10, 10), (0, 8, 10), (1, 4, 10), (0, 12, 10), (0.4, 14, 10), (1, 4, 18)]
    assert focus(units) == [ATTACK + 1, STOP, UP]


def test_a_weak_agent_steps_back_behind_others_while_its_weapon_is_not_ready():
    units = [(0.2, 10, 10), (1, 10, 12), (1, 10, 8), (1, 14, 10), (0, 20, 10), (0, 20, 12)]
    assert focus(units) == [ATTACK, ATTACK, ATTACK]
    assert focus(units, cooldown=0.5) == [LEFT, ATTACK, ATTACK]
    alone = [units[0], (0, 10, 12), (0.2, 10, 8), *units[3:]]
    assert focus(alone, cooldown=0.5) == [ATTACK, STOP, ATTACK]
    # The wall behind it would kill it.
    cornered = [(0.2, 2, 10), (1, 2, 12), (1, 2, 8), (1, 6, 10), *units[4:]]
    assert focus(cornered, cooldown=0.5) == [ATTACK, ATTACK, ATTACK]


def test_an_unknown_kind_is_refused():
    with pytest.raises(LabError, match="kind of SMAX behaviour 'closest'; allowed: focus, heur"):
        smax.start(battle(), kind="closest", rng=np.random.default_rng(0))  # type: ignore[arg-type]

"""Names of SMAX battles, and their layouts."""

import pytest
from lab_marl.environments import layout_of
from lab_marl.environments.smax.scenarios import Scenario, owns, parsed
from lab_marl.episodes.layouts import EntityBlock, check_one_network
from labrun.errors import LabError

MARINE, STALKER, ZEALOT = ("marine",), ("stalker",), ("zealot",)


def test_a_name_gives_the_units_of_each_side():
    assert parsed("smax-3m") == Scenario(MARINE * 3, MARINE * 3, drawn=False)
    assert parsed("smax-5m_vs_6m") == Scenario(MARINE * 5, MARINE * 6, drawn=False)
    mixed = parsed("smax-3s5z_vs_3s6z")
    assert mixed == Scenario(STALKER * 3 + ZEALOT * 5, STALKER * 3 + ZEALOT * 6, drawn=False)
    assert parsed("smax-6h_vs_8z").allies == ("hydralisk",) * 6
    assert parsed("smax-smacv2_5_units") == Scenario(MARINE * 5, MARINE * 5, drawn=True)


@pytest.mark.parametrize(
    "task", ["3m", "smax-", "smax-1m", "smax-51m", "smax-3x", "smax-0m", "smax-smacv2_1_units"]
)
def test_other_names_are_none_of_smax(task):
    assert not owns(task)
    with pytest.raises(LabError, match=rf"no SMAX task '{task}'; .*smax-3m"):
        parsed(task)


def test_the_layout_of_2_marines_against_3():
    layout = layout_of("smax-2m_vs_3m")
    # Another unit: 7 features and 6 bits; the agent itself, and each unit in the state: 4 and 6.
    assert (layout.allies, layout.enemies) == (EntityBlock(0, 1, 13), EntityBlock(13, 3, 13))
    assert (layout.own, layout.obs_size) == (((52, 62),), 62)
    assert (layout.state_allies, layout.state_enemies) == (
        EntityBlock(0, 2, 10),
        EntityBlock(20, 3, 10),
    )
    assert layout.state_size == 50
    assert (layout.num_actions, layout.episode_limit) == (5 + 3, 101)


def test_one_network_serves_all_battles():
    tasks = ["smax-3m", "smax-5m_vs_6m", "smax-2s3z", "smax-smacv2_10_units"]
    check_one_network([layout_of(task) for task in tasks])

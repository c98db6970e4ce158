"""The adapter of the real SMAC against a recording of the real game.

`tests/golden/smac_3m.npz` holds three episodes of 3m from published offline data, which QMIX played
in the game: one is won, one is lost, one was cut off at the limit. SMAC_RECORDING names another
file. `Recording` answers the adapter's calls with them.
"""

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from lab_marl.environments import smac
from lab_marl.environments.interface import Frame
from lab_marl.environments.rollout import play

OWN = Path(__file__).parents[2] / "golden" / "smac_3m.npz"
RECORDED = dict(np.load(os.environ.get("SMAC_RECORDING", OWN)))
COUNT, FRAMES = RECORDED["actions"].shape[:2]
LAYOUT = smac.layout("3m")
INSIDE = np.arange(FRAMES) < RECORDED["length"][:, None]
"""[E, T] where a transition begins."""


class Recording:
    """StarCraft2Env's methods; it answers with one recorded episode."""

    def __init__(self, episode: int) -> None:
        self.values = {name: values[episode] for name, values in RECORDED.items()}
        self.step_number = -1

    def get_env_info(self) -> Mapping[str, int]:
        return {
            "obs_shape": self.values["obs"].shape[-1],
            "state_shape": self.values["state"].shape[-1],
            "n_actions": self.values["avail_actions"].shape[-1],
            "n_agents": self.values["obs"].shape[1],
            "episode_limit": FRAMES - 1,
        }

    def reset(self) -> None:
        self.step_number = 0

    def step(self, actions: list[int]) -> tuple[float, bool, Mapping[str, bool]]:
        now, length = self.step_number, int(self.values["length"])
        assert actions == self.values["actions"][now].tolist()
        assert all(type(action) is int for action in actions), "pysc2 takes Python's integers"
        self.step_number += 1
        over, won = self.step_number == length, bool(self.values["won"])
        info = {"battle_won": over and won}
        if over and length == FRAMES - 1 and not won:
            info["episode_limit"] = True
        return float(self.values["reward"][now]), over, info

    def get_obs(self) -> list[np.ndarray]:
        return list(self.values["obs"][self.step_number])

    def get_state(self) -> np.ndarray:
        return self.values["state"][self.step_number]

    def get_avail_agent_actions(self, agent_id: int) -> list[int]:
        return self.values["avail_actions"][self.step_number, agent_id].astype(int).tolist()

    def close(self) -> None:
        return


@pytest.fixture(scope="module")
def played():
    """What the lab records as the recorded actions are played, and which battles were won."""
    launched = iter([0, *range(COUNT)])  # the first is the probe of the sizes
    env = smac.battles(LAYOUT, lambda seed: Recording(next(launched)), COUNT)
    step = -1

    def act(frame: Frame, live: np.ndarray) -> np.ndarray:
        nonlocal step
        step += 1
        return RECORDED["actions"][:, min(step, FRAMES - 1)].astype(np.int64)

    return play(env, act, seed=0)


def test_the_recording_is_played_back_number_by_number(played):
    episodes, _ = played
    seen = np.arange(FRAMES) <= RECORDED["length"][:, None]
    assert (episodes.filled == seen).all()
    for name in ("obs", "state", "avail_actions", "reward"):
        np.testing.assert_array_equal(getattr(episodes, name), RECORDED[name], err_msg=name)
    assert (episodes.actions[INSIDE] == RECORDED["actions"][INSIDE]).all()


def test_victories_defeats_and_cuts_are_those_of_the_game(played):
    episodes, won = played
    assert won.tolist() == RECORDED["won"].tolist()
    at_limit = RECORDED["length"] == LAYOUT.episode_limit
    assert episodes.truncated.any(1).tolist() == at_limit.tolist()
    assert episodes.terminated.any(1).tolist() == (~at_limit).tolist()


def test_the_layout_finds_the_masks_of_moves_and_attacks_in_the_observation():
    """SMAC shows an agent which moves it has, and of each enemy whether it can be attacked."""
    obs, masks = RECORDED["obs"][INSIDE], RECORDED["avail_actions"][INSIDE]
    moves = obs[..., slice(*LAYOUT.own[0])]
    np.testing.assert_array_equal(moves, masks[..., 2 : LAYOUT.num_non_attack])
    enemies = obs[..., LAYOUT.enemies.start : LAYOUT.enemies.stop]
    attackable = enemies.reshape(*enemies.shape[:2], LAYOUT.enemies.count, -1)[..., 0]
    np.testing.assert_array_equal(attackable, masks[..., LAYOUT.num_non_attack :])


def test_the_layout_finds_the_last_actions_in_the_state():
    assert LAYOUT.state_actions is not None
    last = RECORDED["state"][..., LAYOUT.state_actions :]
    onehot = last.reshape(COUNT, FRAMES, LAYOUT.num_agents, LAYOUT.num_actions)
    assert not onehot[:, 0].any()
    episode, frame = np.nonzero(INSIDE)
    shown = onehot[episode, frame + 1]
    assert (shown.sum(-1) == 1).all()
    assert (shown.argmax(-1) == RECORDED["actions"][INSIDE]).all()

"""Battles of SMAX as an environment of the toolkit."""

import weakref
from collections.abc import Mapping

import numpy as np
from labrun.errors import LabError

from lab_marl.environments.interface import Frame, Outcome
from lab_marl.environments.smax.process import SmaxProcess, shared
from lab_marl.environments.smax.scenarios import OWN_FEATURES, TYPE_BITS, UNIT_FEATURES, Scenario
from lab_marl.environments.smax.simulator import Shown
from lab_marl.episodes.layouts import Layout


class SmaxEnv:
    """E battles of one task. Its process starts with the first reset.

    Copy i gets the i-th seed derived from the batch's seed.
    """

    def __init__(
        self,
        layout: Layout,
        scenario: Scenario,
        num_envs: int,
        process: SmaxProcess | None = None,
    ) -> None:
        self.layout, self.scenario, self.num_envs = layout, scenario, num_envs
        self.process = process or shared()
        self._number = 0

    def reset(self, seed: int) -> Frame:
        if not self._number:
            self._make()
        seeds = np.random.SeedSequence(seed).generate_state(self.num_envs)
        return self._frame(self.process.ask("reset", self._number, seeds))

    def step(self, actions: np.ndarray) -> tuple[Frame, Outcome]:
        allowed = np.take_along_axis(self._avail_actions, actions[..., None], axis=-1)
        assert allowed.all(), "an action that the mask forbids"
        shown = self.process.ask("step", self._number, actions.astype(np.int32))
        outcome = Outcome(shown.reward, shown.terminated, shown.truncated, shown.won)
        return self._frame(shown), outcome

    def heuristic_actions(self) -> np.ndarray:
        """[E, n] int64: what JaxMARL's heuristic policy does as the agents; ask it once a step."""
        return self.process.ask("advise", self._number).astype(np.int64)

    def _make(self) -> None:
        self._number = self.process.new_number()
        check_sizes(self.layout, self.process.ask("make", self._number, self.scenario))
        weakref.finalize(self, self.process.unneeded.append, self._number)

    def _frame(self, shown: Shown) -> Frame:
        self._avail_actions = shown.avail_actions
        return Frame(shown.obs, shown.state, shown.avail_actions)


def check_sizes(layout: Layout, sizes: Mapping[str, object]) -> None:
    """Raises LabError that names every size in which the environment differs from the layout."""
    expected: dict[str, object] = {
        "obs_size": layout.obs_size,
        "state_size": layout.state_size,
        "num_agents": layout.num_agents,
        "num_enemies": layout.num_enemies,
        "num_non_attack": layout.num_non_attack,
        "num_actions": layout.num_actions,
        "episode_limit": layout.episode_limit,
        "own features": OWN_FEATURES,
        "unit features": UNIT_FEATURES,
        "type bits": TYPE_BITS,
    }
    wrong = [
        f"{name} {sizes[name]} against {value}"
        for name, value in expected.items()
        if sizes[name] != value
    ]
    if wrong:
        raise LabError(
            f"task {layout.task!r}: the installed JaxMARL differs from the layout in "
            f"{'; '.join(wrong)}; run: pip install 'labrun[smax]'"
        )

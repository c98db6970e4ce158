"""PettingZoo's parallel interface to one copy of a task."""

from typing import Any

import numpy as np
from gymnasium import spaces
from labrun.errors import LabError
from pettingzoo import ParallelEnv

from lab_marl.environments import make, render
from lab_marl.environments.interface import Frame, VectorEnv

MAX_SEED = 2**63 - 1


def parallel_env(task: str, *, render_mode: str | None = None) -> "AsParallelEnv":
    """The task by its name, as a PettingZoo environment.

    Raises LabError for an unknown task, or a render mode that it does not have.
    """
    return AsParallelEnv(make(task, 1), render_mode=render_mode)


class AsParallelEnv(ParallelEnv[str, Any, Any]):
    """A VectorEnv of one copy.

    Where actions are discrete, an observation is a dict of `observation` and `action_mask` (int8),
    and an action space draws what the mask of this moment allows; else it is the vector. All agents
    stay until the episode is over: one that fell in a battle may only do nothing. Each
    gets the team's reward; `battle_won` in the infos says whether this step reached the goal.
    """

    def __init__(self, env: VectorEnv, *, render_mode: str | None = None) -> None:
        assert env.num_envs == 1
        layout = env.layout
        modes = ["rgb_array"] if render.draws(env) else []
        if render_mode is not None and render_mode not in modes:
            raise LabError(
                f"task {layout.task!r} has no render mode {render_mode!r}; "
                f"allowed: {', '.join(['None', *modes])}"
            )
        self.env, self.render_mode = env, render_mode
        self.metadata = {"name": layout.task, "render_modes": modes}
        self.possible_agents = [f"agent_{i}" for i in range(layout.num_agents)]
        self.agents: list[str] = []
        self.observation_spaces = {agent: self._view_space() for agent in self.possible_agents}
        self.action_spaces = {agent: self._action_space() for agent in self.possible_agents}
        self.state_space = _unbounded(layout.state_size)
        self._seeds = np.random.default_rng()
        self._last: Frame | None = None

    def observation_space(self, agent: str) -> spaces.Space:
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> spaces.Space:
        return self.action_spaces[agent]

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
        """The episode of `seed`; without one, the next of a series that the last seed began.
        There are no options."""
        if seed is None:
            seed = int(self._seeds.integers(MAX_SEED))
        else:
            self._seeds = np.random.default_rng(seed)
        self.agents = list(self.possible_agents)
        self._show(self.env.reset(seed))
        return self._views(), {agent: {"battle_won": False} for agent in self.agents}

    def step(
        self, actions: dict[str, Any]
    ) -> tuple[
        dict[str, Any],
        dict[str, float],
        dict[str, bool],
        dict[str, bool],
        dict[str, dict[str, Any]],
    ]:
        """Raises LabError for a missing action, one that its agent may not do now, and before a
        reset."""
        self._frame("step")
        if not self.agents:
            return {}, {}, {}, {}, {}
        self._check(actions)
        joint = np.array([actions[agent] for agent in self.agents])[None]
        frame, outcome = self.env.step(joint)
        self._show(frame)
        agents = self.agents
        terminated, truncated = bool(outcome.terminated[0]), bool(outcome.truncated[0])
        if terminated or truncated:
            self.agents = []
        return (
            self._views(),
            dict.fromkeys(agents, float(outcome.reward[0])),
            dict.fromkeys(agents, terminated),
            dict.fromkeys(agents, truncated),
            {agent: {"battle_won": bool(outcome.won[0])} for agent in agents},
        )

    def state(self) -> np.ndarray:
        """[s] float32, for training only. Raises LabError before a reset."""
        return self._frame("state").state[0]

    def render(self) -> np.ndarray | None:
        """The present state as RGB [height, width, 3] uint8, for grid and battle tasks.
        Raises LabError before a reset."""
        self._frame("render")
        return render.frame(self.env) if self.render_mode else None

    def _frame(self, before: str) -> Frame:
        """What is shown now. Raises LabError where nothing is, naming what was called before it."""
        if self._last is None:
            raise LabError(f"reset() needs to be called before {before}()")
        return self._last

    def _show(self, frame: Frame) -> None:
        self._last = frame
        for space, mask in zip(self.action_spaces.values(), frame.avail_actions[0], strict=True):
            if isinstance(space, AllowedActions):
                space.allowed = mask.astype(np.int8)

    def _check(self, actions: dict[str, Any]) -> None:
        for agent in self.agents:
            if agent not in actions:
                raise LabError(f"no action for {agent!r}; every agent in env.agents needs one")
            if not self.action_spaces[agent].contains(actions[agent]):
                space = self.action_spaces[agent]
                raise LabError(f"action {actions[agent]} of {agent!r} is not in its space {space}")
        if not self.env.layout.continuous:
            self._check_masks(actions)

    def _check_masks(self, actions: dict[str, Any]) -> None:
        masks = self._frame("step").avail_actions[0]
        for agent, mask in zip(self.possible_agents, masks, strict=True):
            if not mask[int(actions[agent])]:
                raise LabError(
                    f"action {actions[agent]} of {agent!r} is not allowed now; allowed: "
                    f"{np.flatnonzero(mask).tolist()} (its observation's action_mask)"
                )

    def _views(self) -> dict[str, Any]:
        frame = self._frame("step")
        if self.env.layout.continuous:
            return dict(zip(self.possible_agents, frame.obs[0], strict=True))
        masks = frame.avail_actions[0].astype(np.int8)
        rows = zip(self.possible_agents, frame.obs[0], masks, strict=True)
        return {agent: {"observation": obs, "action_mask": mask} for agent, obs, mask in rows}

    def _view_space(self) -> spaces.Space:
        layout = self.env.layout
        if layout.continuous:
            return _unbounded(layout.obs_size)
        mask = spaces.Box(0, 1, (layout.num_actions,), np.int8)
        return spaces.Dict({"observation": _unbounded(layout.obs_size), "action_mask": mask})

    def _action_space(self) -> spaces.Space:
        layout = self.env.layout
        if layout.continuous:
            return spaces.Box(-1.0, 1.0, (layout.num_actions,), np.float32)
        return AllowedActions(layout.num_actions)


class AllowedActions(spaces.Discrete):
    """The actions of an agent; a sample is one that its mask allows at this moment."""

    def __init__(self, num_actions: int) -> None:
        super().__init__(num_actions)
        self.allowed = np.ones(num_actions, np.int8)

    def sample(self, mask: Any | None = None, probability: Any | None = None) -> Any:
        if mask is None and probability is None:
            mask = self.allowed
        return super().sample(mask, probability)


def _unbounded(size: int) -> spaces.Box:
    return spaces.Box(-np.inf, np.inf, (size,), np.float32)

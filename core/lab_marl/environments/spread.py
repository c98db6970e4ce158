"""Cooperative navigation in the plane (`spread-2` to `spread-15`): mpe2's simple_spread.

N agents are to cover N landmarks; everybody sees everything. The team's reward is the mean of
mpe2's rewards of the agents: half the negative sum of each landmark's distance to its nearest
agent, and half minus one for each collision. An episode has 25 steps and never ends before.

A step is won when every landmark has an agent within `COVER_RADIUS`. That is an agent's radius
(mpe2's own test, which ends no episode here, takes 0.1): one push moves an agent by 0.2 in all, so
that at rest it can be told to stop no nearer than 0.1 on each axis.
"""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from lab_marl.environments.serial import Result, SerialEnv, View, simulator
from lab_marl.episodes.layouts import EntityBlock, Layout

COVER_RADIUS = 0.15
CYCLES = 25
NUM_MOVES = 5
"""mpe2's actions: none, left, right, down, up."""

examples = ("spread-3",)


def owns(task: str) -> bool:
    found = re.fullmatch(r"spread-([1-9]\d?)", task)
    return found is not None and 2 <= int(found[1]) <= 15


def layout(task: str) -> Layout:
    """Observation: own position and velocity; other agents' relative positions and velocities;
    landmarks' relative positions. State: agents' positions and velocities; landmarks' positions."""
    n = int(task.removeprefix("spread-"))
    allies = EntityBlock(4, n - 1, 4)
    landmarks = EntityBlock(allies.stop, n, 2)
    state_agents = EntityBlock(0, n, 4)
    state_landmarks = EntityBlock(state_agents.stop, n, 2)
    return Layout(
        task=task,
        family="spread",
        num_agents=n,
        num_enemies=n,
        num_non_attack=NUM_MOVES,
        attacks=False,
        obs_size=landmarks.stop,
        state_size=state_landmarks.stop,
        own=((0, 4),),
        allies=allies,
        enemies=landmarks,
        state_allies=state_agents,
        state_enemies=state_landmarks,
        episode_limit=CYCLES,
    )


def make(task: str, num_envs: int) -> SerialEnv:
    description = layout(task)
    return SerialEnv(description, [SpreadCopy(description) for _ in range(num_envs)])


class SpreadCopy:
    """One copy. `env` is mpe2's own object, whose world may be set before a step."""

    def __init__(self, layout: Layout) -> None:
        module = simulator("mpe2.simple_spread_v3")
        self.env = module.raw_env(N=layout.num_agents, max_cycles=layout.episode_limit)

    def reset(self, seed: int) -> View:
        self.env.reset(seed=seed)
        return self.view()

    def step(self, actions: np.ndarray) -> tuple[View, Result]:
        for action in actions:
            self.env.step(int(action))
        reward = float(np.mean(list(self.env.rewards.values())))
        agents, landmarks = positions(self.env.world.agents), positions(self.env.world.landmarks)
        return self.view(), Result(reward, False, covered(agents, landmarks))

    def view(self) -> View:
        """What the world shows now."""
        world = self.env.world
        agents, landmarks = positions(world.agents), positions(world.landmarks)
        own = np.concatenate([agents, velocities(world.agents)], axis=1)
        towards = landmarks - agents[:, None]
        n = len(agents)
        parts = [own, teammates(own).reshape(n, -1), towards.reshape(n, -1)]
        return View(
            obs=np.concatenate(parts, axis=1),
            state=np.concatenate([own.ravel(), landmarks.ravel()]),
            avail_actions=np.ones((n, NUM_MOVES), bool),
        )


def covered(agents: np.ndarray, landmarks: np.ndarray) -> bool:
    """Whether every landmark [M, 2] has an agent [n, 2] within `COVER_RADIUS`."""
    distances = np.linalg.norm(landmarks[:, None] - agents, axis=-1)
    return bool((distances.min(axis=1) <= COVER_RADIUS).all())


def teammates(agents: np.ndarray) -> np.ndarray:
    """[n, n - 1, 4] relative position and own velocity of each agent's teammates, in their order;
    `agents` [n, 4] holds positions and velocities."""
    n = len(agents)
    others = np.array([[j for j in range(n) if j != i] for i in range(n)], dtype=int)
    seen = agents[others]
    seen[..., :2] -= agents[:, None, :2]
    return seen


def positions(entities: Sequence[Any]) -> np.ndarray:
    """[k, 2] of mpe2's entities."""
    return np.array([entity.state.p_pos for entity in entities])


def velocities(entities: Sequence[Any]) -> np.ndarray:
    """[k, 2] of mpe2's entities."""
    return np.array([entity.state.p_vel for entity in entities])

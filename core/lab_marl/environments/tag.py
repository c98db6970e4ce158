"""Pursuit in the plane (`tag-3v1`): mpe2's simple_tag, in which the prey belongs to the task.

P predators (the agents) chase Q faster prey ("enemies") around two obstacles; everybody sees
everything. The prey follows `flight`, a fixed rule without memory or chance. The team's reward is
mpe2's: 10 for each predator that touches a prey at the end of a step. An episode has 25 steps and
never ends before. It is won at the step at which the number of touches so far, over all predators
and prey, reaches `CATCHES_TO_WIN`.
"""

import re

import numpy as np

from lab_marl.environments.serial import Result, SerialEnv, View, simulator
from lab_marl.environments.spread import CYCLES, NUM_MOVES, positions, teammates, velocities
from lab_marl.episodes.layouts import EntityBlock, Layout

CATCHES_TO_WIN = 2
CATCH_REWARD = 10.0
"""mpe2's reward of one touch."""
NUM_OBSTACLES = 2
DIRECTIONS = np.array([[0, 0], [-1, 0], [1, 0], [0, -1], [0, 1]])
"""Force of mpe2's actions: none, left, right, down, up."""
FLIGHT_STEP = 0.2
"""How far ahead the prey looks when it compares its moves."""
BORDER = 0.7
"""Where the prey begins to shun the edge of the field; mpe2 fines it from 0.9 on."""
BORDER_WEIGHT = 1e4
"""Price of a squared distance beyond the border, against 1 / distance^2 of a predator: high enough
that the prey lets itself be cornered rather than leave the field."""
NEAR = 1e-3
"""Added to squared distances, so that a touching predator costs a finite price."""

examples = ("tag-3v1",)


def owns(task: str) -> bool:
    found = re.fullmatch(r"tag-([1-9]\d?)v([1-9]\d?)", task)
    return found is not None and 2 <= int(found[1]) <= 15 and int(found[2]) <= 15


def layout(task: str) -> Layout:
    """Observation: own position and velocity, obstacles' relative positions; other predators' and
    the prey's relative positions and velocities. State: the predators' own features; the prey's
    positions and velocities."""
    num_predators, num_prey = map(int, task.removeprefix("tag-").split("v"))
    own = 4 + 2 * NUM_OBSTACLES
    allies = EntityBlock(own, num_predators - 1, 4)
    prey = EntityBlock(allies.stop, num_prey, 4)
    state_predators = EntityBlock(0, num_predators, own)
    state_prey = EntityBlock(state_predators.stop, num_prey, 4)
    return Layout(
        task=task,
        family="tag",
        num_agents=num_predators,
        num_enemies=num_prey,
        num_non_attack=NUM_MOVES,
        attacks=False,
        obs_size=prey.stop,
        state_size=state_prey.stop,
        own=((0, own),),
        allies=allies,
        enemies=prey,
        state_allies=state_predators,
        state_enemies=state_prey,
        episode_limit=CYCLES,
    )


def make(task: str, num_envs: int) -> SerialEnv:
    description = layout(task)
    return SerialEnv(description, [TagCopy(description) for _ in range(num_envs)])


class TagCopy:
    """One copy. `env` is mpe2's own object, whose world may be set before a step."""

    def __init__(self, layout: Layout) -> None:
        self.env = simulator("mpe2.simple_tag_v3").raw_env(
            num_good=layout.num_enemies,
            num_adversaries=layout.num_agents,
            num_obstacles=NUM_OBSTACLES,
            max_cycles=layout.episode_limit,
        )
        self.num_predators = layout.num_agents
        self.catches = 0

    def reset(self, seed: int) -> View:
        self.env.reset(seed=seed)
        self.catches = 0
        return self.view()

    def step(self, actions: np.ndarray) -> tuple[View, Result]:
        bodies = positions(self.env.world.agents)
        predators, prey = bodies[: self.num_predators], bodies[self.num_predators :]
        for action in (*actions, *flight(prey, predators)):
            self.env.step(int(action))
        reward = float(self.env.rewards["adversary_0"])
        before, self.catches = self.catches, self.catches + round(reward / CATCH_REWARD)
        won = before < CATCHES_TO_WIN <= self.catches
        return self.view(), Result(reward, False, won)

    def view(self) -> View:
        """What the world shows now."""
        world, n = self.env.world, self.num_predators
        bodies = np.concatenate([positions(world.agents), velocities(world.agents)], axis=1)
        predators, prey = bodies[:n], bodies[n:]
        obstacles = positions(world.landmarks) - predators[:, None, :2]
        own = np.concatenate([predators, obstacles.reshape(n, -1)], axis=1)
        seen = np.repeat(prey[None], n, axis=0)
        seen[..., :2] -= predators[:, None, :2]
        parts = [own, teammates(predators).reshape(n, -1), seen.reshape(n, -1)]
        return View(
            obs=np.concatenate(parts, axis=1),
            state=np.concatenate([own.ravel(), prey.ravel()]),
            avail_actions=np.ones((n, NUM_MOVES), bool),
        )


def flight(prey: np.ndarray, predators: np.ndarray) -> np.ndarray:
    """[Q] moves of the prey [Q, 2] that run from predators [P, 2] and keep to the field.

    Each prey takes the move whose place `FLIGHT_STEP` ahead is cheapest: the sum over predators of
    1 / (distance^2 + `NEAR`), and `BORDER_WEIGHT` times the squared distance beyond the border.
    """
    places = prey[:, None] + FLIGHT_STEP * DIRECTIONS
    gaps = places[:, :, None] - predators
    danger = (1 / (np.square(gaps).sum(-1) + NEAR)).sum(-1)
    beyond = np.maximum(np.abs(places) - BORDER, 0)
    return np.argmin(danger + BORDER_WEIGHT * np.square(beyond).sum(-1), axis=1)

"""Cooperative navigation on a grid (`cn-2` to `cn-15`), vectorised over episodes.

N agents and N landmarks stand on the cells of a square field. The team wins, with reward 1, at the
first step at which every agent can be given a landmark of its own within `REACH` cells of it (in
both directions). Nothing is remembered from step to step: a landmark that an agent leaves again
does not count. Rules and sizes are those of the published data, whose recorded transitions this
environment reproduces exactly. cn-13 and cn-14, of which nothing is published, use cn-15's field.
"""

import re
from dataclasses import dataclass

import numpy as np

from lab_marl.environments.interface import Frame, Outcome
from lab_marl.episodes.layouts import EntityBlock, Layout

REACH = 2
MOVES = np.array([[0, 0], [-1, 0], [1, 0], [0, -1], [0, 1]])
"""Change of (row, column) by each action: none, north, south, west, east."""
HIDDEN = -1
"""Row and column that an entity out of sight shows, before 1 is added as to every coordinate."""

examples = ("cn-2", "cn-4")


@dataclass(frozen=True)
class Field:
    """The published settings of one number of agents."""

    size: int
    """Rows and columns."""
    episode_limit: int

    @property
    def sight(self) -> int:
        """Cells, in both directions; in the published tasks everything is in sight."""
        return self.size - 1


FIELDS = {
    **{n: Field(size, 50) for n, size in ((2, 6), (3, 8), (4, 10), (5, 12), (6, 15))},
    **{n: Field(15, 70) for n in (7, 8, 9, 10)},
    **{n: Field(18, 70) for n in (11, 12)},
    **{n: Field(20, 80) for n in (13, 14, 15)},
}


def owns(task: str) -> bool:
    found = re.fullmatch(r"cn-([1-9]\d*)", task)
    return found is not None and int(found[1]) in FIELDS


def layout(task: str) -> Layout:
    """Observation: own cell, other agents' cells, landmarks' cells. State: agents', landmarks'."""
    n = int(task.removeprefix("cn-"))
    return Layout(
        task=task,
        family="grid",
        num_agents=n,
        num_enemies=n,
        num_non_attack=len(MOVES),
        attacks=False,
        obs_size=4 * n,
        state_size=4 * n,
        own=((0, 2),),
        allies=EntityBlock(2, n - 1, 2),
        enemies=EntityBlock(2 * n, n, 2),
        state_allies=EntityBlock(0, n, 2),
        state_enemies=EntityBlock(2 * n, n, 2),
        episode_limit=FIELDS[n].episode_limit,
    )


def make(task: str, num_envs: int, *, sight: int | None = None) -> "GridEnv":
    """`num_envs` copies; `sight` in cells, the published one where it is None."""
    return GridEnv(layout(task), num_envs, sight=sight)


class GridEnv:
    """E copies of one field. `agents` and `landmarks` hold rows and columns [E, n, 2] from 0."""

    def __init__(self, layout: Layout, num_envs: int, *, sight: int | None = None) -> None:
        n = layout.num_agents
        field = FIELDS[n]
        self.layout, self.num_envs, self.size = layout, num_envs, field.size
        self.sight = field.sight if sight is None else sight
        # Row i of the observations: agent i itself, then the other entities in their order.
        others = [[j for j in range(2 * n) if j != i] for i in range(n)]
        self._order = np.array([[i, *rest] for i, rest in enumerate(others)])

    def reset(self, seed: int) -> Frame:
        """Agents on distinct cells, then landmarks on distinct cells that no agent reaches."""
        rng = np.random.default_rng(seed)
        agents, landmarks = self._spawn(rng, self.num_envs)
        return self.place(agents, landmarks)

    def place(self, agents: np.ndarray, landmarks: np.ndarray) -> Frame:
        """Begin an episode from given cells, each [E, n, 2]."""
        self.agents, self.landmarks = agents.astype(np.int64), landmarks.astype(np.int64)
        self.live = np.ones(self.num_envs, bool)
        self.time = 0
        return self._frame()

    def step(self, actions: np.ndarray) -> tuple[Frame, Outcome]:
        """Agents that go for the same cell, or for the cell of one that stays, do not move.

        A cell whose agent wanted to leave it counts as free, even where that agent then failed:
        so two agents may come to stand on one cell, as in the published data.
        """
        allowed = np.take_along_axis(self._avail(), actions[..., None], axis=-1)
        assert allowed.all(), "an action that the mask forbids"
        goals = self.agents + MOVES[actions]
        cells = goals[..., 0] * self.size + goals[..., 1]
        alone = (cells[:, :, None] == cells[:, None]).sum(-1) == 1
        moves = alone & self.live[:, None]
        self.agents = np.where(moves[..., None], goals, self.agents)
        self.time += 1
        won = self.live & matched(within(self.agents[:, :, None], self.landmarks[:, None], REACH))
        truncated = self.live & ~won & (self.time >= self.layout.episode_limit)
        self.live = self.live & ~won & ~truncated
        return self._frame(), Outcome(won.astype(np.float32), won, truncated, won)

    def _spawn(self, rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Cells of agents and landmarks for `count` copies; agents that leave too few cells for
        the landmarks are drawn again."""
        n, cells = self.layout.num_agents, np.arange(self.size**2)
        grid = np.stack(np.divmod(cells, self.size), axis=-1)
        agents = grid[_draw(rng, np.ones((count, len(cells)), bool), n)]
        free = ~np.any(within(agents[:, :, None], grid, REACH), axis=1)
        landmarks = grid[_draw(rng, free, n)]
        short = free.sum(1) < n
        if short.any():
            agents[short], landmarks[short] = self._spawn(rng, int(short.sum()))
        return agents, landmarks

    def _avail(self) -> np.ndarray:
        """[E, n, 5]: whatever does not leave the field; ended copies too."""
        goals = self.agents[:, :, None] + MOVES
        return np.all((goals >= 0) & (goals < self.size), axis=-1)

    def _frame(self) -> Frame:
        entities = np.concatenate([self.agents, self.landmarks], axis=1)
        seen = entities[:, self._order]
        in_sight = within(self.agents[:, :, None], seen, self.sight)
        obs = np.where(in_sight[..., None], seen, HIDDEN) + 1
        shape = (self.num_envs, self.layout.num_agents, -1)
        return Frame(
            obs=obs.reshape(shape).astype(np.float32),
            state=(entities + 1).reshape(self.num_envs, -1).astype(np.float32),
            avail_actions=self._avail(),
        )


def within(one: np.ndarray, other: np.ndarray, distance: int) -> np.ndarray:
    """[...]: whether cells [..., 2] are at most `distance` apart in rows and in columns."""
    return np.all(np.abs(one - other) <= distance, axis=-1)


def matched(reach: np.ndarray) -> np.ndarray:
    """[E]: whether each of n agents can be given its own landmark; `reach` [E, n, n] bool."""
    from scipy.optimize import linear_sum_assignment

    possible = np.asarray(reach.any(1).all(-1) & reach.any(2).all(-1))
    for index in np.flatnonzero(possible):
        pairs = linear_sum_assignment(reach[index], maximize=True)
        possible[index] = reach[index][pairs].all()
    return possible


def _draw(rng: np.random.Generator, allowed: np.ndarray, count: int) -> np.ndarray:
    """[E, count] distinct columns of each row of `allowed` [E, C], uniformly, in random order."""
    keys = np.where(allowed, rng.random(allowed.shape), 2.0)
    return np.argsort(keys, axis=1)[:, :count]

"""Behaviours for MaMuJoCo: decentralised linear policies found by augmented random search.

The search is ARS, version V2-t (Mania, Guy and Recht 2018, arXiv 1803.07055, algorithm 2): it needs
returns only, and no gradient. What differs from it:

1. Each agent has a linear map of its own, from its own observation to its own joints.
2. Actions are clipped to [-1, 1].
3. Directions, step and noise are those of the paper's HalfCheetah but for the number of directions
   (16 with the best 8, in place of 32 with the best 4).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from labrun.errors import unknown

from lab_marl.environments import mamujoco
from lab_marl.environments.interface import Actor, Frame, VectorEnv

TIERS = ("expert", "medium")
ACTION_NOISE = 0.1
"""Standard deviation of the Gaussian noise on each action of a played behaviour."""
DIRECTIONS = 16
"""N, random directions of an iteration; each is tried forwards and backwards."""
BEST = 8
"""b, directions that count in the update."""
STEP = 0.02
"""alpha, step size."""
SPREAD = 0.03
"""nu, standard deviation of the exploration noise on the weights."""

OnProgress = Callable[[int, int, float], None]
"""(iterations made, iterations in all, mean return of the last one)."""


@dataclass(frozen=True)
class LinearPolicy:
    """actions = clip(weights (obs - mean) / std)."""

    weights: np.ndarray
    """[n, a, o]."""
    mean: np.ndarray
    """[n, o]."""
    std: np.ndarray
    """[n, o]."""

    def actions(self, obs: np.ndarray) -> np.ndarray:
        """[E, n, a] for observations [E, n, o]; not clipped."""
        return np.einsum("nao,eno->ena", self.weights, (obs - self.mean) / self.std)


@dataclass(frozen=True)
class Found:
    """What a search found."""

    expert: LinearPolicy
    """The iterate with the highest return."""
    medium: LinearPolicy
    """The first iterate that came half the way from the first return to the highest one."""
    returns: np.ndarray
    """[iterations] mean return of the rollouts around each iterate."""


def search(
    task: str, *, seed: int, iterations: int, on_progress: OnProgress | None = None
) -> Found:
    """Policies for a task; equal seeds and iterations give equal ones.

    An iteration plays 2 * `DIRECTIONS` episodes.
    """
    env = mamujoco.make(task, 2 * DIRECTIONS)
    rng = np.random.default_rng(seed)
    moments = Moments(env.layout.num_agents, env.layout.obs_size)
    weights = np.zeros((env.layout.num_agents, env.layout.num_actions, env.layout.obs_size))
    iterates, returns = [], []
    for iteration in range(iterations):
        iterates.append(LinearPolicy(weights, moments.mean, moments.std))
        directions = rng.standard_normal((DIRECTIONS, *weights.shape))
        tried = np.concatenate([weights + SPREAD * directions, weights - SPREAD * directions])
        scores = rollouts(env, tried, moments, seed=int(rng.integers(2**31)))
        weights = updated(weights, directions, scores[:DIRECTIONS], scores[DIRECTIONS:])
        returns.append(float(scores.mean()))
        if on_progress:
            on_progress(iteration + 1, iterations, returns[-1])
    return chosen(iterates, np.array(returns))


def start(env: VectorEnv, *, found: Found, tier: str, rng: np.random.Generator) -> Actor:
    """The policy of a tier with noise of `ACTION_NOISE` on its actions."""
    if tier not in TIERS:
        raise unknown("tier", tier, TIERS)
    policy = found.expert if tier == "expert" else found.medium

    def act(frame: Frame, live: np.ndarray) -> np.ndarray:
        actions = policy.actions(frame.obs)
        noisy = actions + ACTION_NOISE * rng.standard_normal(actions.shape)
        return np.clip(noisy, -1, 1).astype(np.float32)

    return act


class Moments:
    """Mean and standard deviation of every observation seen so far, for each agent and feature."""

    def __init__(self, num_agents: int, obs_size: int) -> None:
        self.count = 0
        self.mean = np.zeros((num_agents, obs_size))
        self.squares = np.zeros((num_agents, obs_size))
        """Sum of squared differences from the mean."""

    @property
    def std(self) -> np.ndarray:
        """[n, o]; 1 where a feature has never varied."""
        if self.count == 0:
            return np.ones_like(self.mean)
        std = np.sqrt(self.squares / self.count)
        return np.where(std > 1e-7, std, 1.0)

    def add(self, obs: np.ndarray) -> None:
        """Takes in observations [k, n, o] (Chan's update of two groups)."""
        count, mean = len(obs), obs.mean(0)
        total = self.count + count
        gap = mean - self.mean
        between = np.square(gap) * (self.count * count / total)
        self.squares = self.squares + np.square(obs - mean).sum(0) + between
        self.mean = self.mean + gap * (count / total)
        self.count = total


def rollouts(env: VectorEnv, weights: np.ndarray, moments: Moments, *, seed: int) -> np.ndarray:
    """[E] return of weights [E, n, a, o], one episode each; adds what was seen to `moments`.

    All episodes normalise with the moments from before them, as the paper's do.
    """
    mean, std = moments.mean, moments.std
    frame, live = env.reset(seed), np.ones(env.num_envs, bool)
    returns, seen = np.zeros(env.num_envs), []
    while live.any():
        seen.append(frame.obs[live])
        actions = np.einsum("enao,eno->ena", weights, (frame.obs - mean) / std)
        frame, outcome = env.step(np.clip(actions, -1, 1).astype(np.float32))
        returns += live * outcome.reward
        live = live & ~(outcome.terminated | outcome.truncated)
    moments.add(np.concatenate(seen).astype(np.float64))
    return returns


def updated(
    weights: np.ndarray, directions: np.ndarray, forwards: np.ndarray, backwards: np.ndarray
) -> np.ndarray:
    """weights + alpha / (b sigma) sum over the best b directions of (r+ - r-) delta.

    The best are those with the highest max(r+, r-); sigma is the standard deviation of their 2b
    returns. Returns are [N], directions [N, n, a, o].
    """
    best = np.argsort(-np.maximum(forwards, backwards), kind="stable")[:BEST]
    sigma = np.concatenate([forwards[best], backwards[best]]).std()
    push = np.tensordot(forwards[best] - backwards[best], directions[best], axes=1)
    return weights + STEP / (BEST * sigma) * push


def chosen(iterates: list[LinearPolicy], returns: np.ndarray) -> Found:
    """The iterates that are kept, from the mean return around each."""
    halfway = (returns[0] + returns.max()) / 2
    medium = int(np.argmax(returns >= halfway))
    return Found(iterates[int(returns.argmax())], iterates[medium], returns)

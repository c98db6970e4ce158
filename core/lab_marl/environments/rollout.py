"""Episodes played by an actor: recorded in full, or only their results."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from lab_marl.environments.interface import Actor, Frame, Outcome, Policy, VectorEnv
from lab_marl.episodes.episodes import Episodes
from lab_marl.episodes.layouts import Layout

OnStep = Callable[[int], None]
"""Called with the number of steps made: 0 after the reset, then after each step."""


@dataclass(frozen=True)
class Transition:
    """One step of all copies; rows of copies that were over before it mean nothing."""

    frame: Frame
    live: np.ndarray
    """[E] bool: copies that were not over before this step."""
    actions: np.ndarray
    outcome: Outcome
    after: Frame


@dataclass(frozen=True)
class Tally:
    """Results of episodes, one entry each."""

    returns: np.ndarray
    """float64, undiscounted sums of rewards."""
    won: np.ndarray
    """bool: the episode reached the task's goal."""
    lengths: np.ndarray
    """int64, transitions."""


def transitions(
    env: VectorEnv, actor: Actor, *, seed: int, on_step: OnStep | None = None
) -> Iterator[Transition]:
    """One episode in every copy, until the last is over."""
    frame, live = env.reset(seed), np.ones(env.num_envs, bool)
    step = 0
    if on_step:
        on_step(step)
    while live.any():
        actions = actor(frame, live)
        after, outcome = env.step(actions)
        step += 1
        if on_step:
            on_step(step)
        yield Transition(frame, live, actions, outcome, after)
        frame, live = after, live & ~(outcome.terminated | outcome.truncated)


def play(
    env: VectorEnv, actor: Actor, *, seed: int, on_step: OnStep | None = None
) -> tuple[Episodes, np.ndarray]:
    """One recorded episode of every copy, and won [E] bool.

    T = episode limit + 1. The frame after the last transition holds what was seen there (obs,
    state, avail_actions, filled), and what the actor would do there: it is asked once more.
    """
    episodes = _empty(env.layout, env.num_envs)
    won = np.zeros(env.num_envs, bool)
    ended = np.zeros(env.num_envs, bool)
    """Copies whose last frame the actor has not been asked about."""
    made = None
    t = -1
    for t, made in enumerate(transitions(env, actor, seed=seed, on_step=on_step)):
        _write_frame(episodes, t, made.frame, made.live)
        live, outcome = made.live, made.outcome
        acting = live | ended
        episodes.actions[acting, t] = made.actions[acting]
        ended = live & (outcome.terminated | outcome.truncated)
        episodes.reward[live, t] = outcome.reward[live]
        episodes.terminated[:, t] = live & outcome.terminated
        episodes.truncated[:, t] = live & outcome.truncated
        won |= live & outcome.won
        _write_frame(episodes, t + 1, made.after, ended)
    assert made is not None
    episodes.actions[ended, t + 1] = actor(made.after, np.zeros_like(ended))[ended]
    return episodes, won


def score(env: VectorEnv, actor: Actor, *, seed: int, on_step: OnStep | None = None) -> Tally:
    """Results of one episode of every copy; keeps no frame."""
    tally = Tally(
        returns=np.zeros(env.num_envs),
        won=np.zeros(env.num_envs, bool),
        lengths=np.zeros(env.num_envs, np.int64),
    )
    for made in transitions(env, actor, seed=seed, on_step=on_step):
        tally.returns[made.live] += made.outcome.reward[made.live]
        tally.won[:] |= made.live & made.outcome.won
        tally.lengths[:] += made.live
    return tally


def score_episodes(
    make_env: Callable[[int], VectorEnv],
    policy: Policy,
    layout: Layout,
    *,
    episodes: int,
    batch: int,
    seed: int,
    on_step: OnStep | None = None,
) -> Tally:
    """Results of `episodes` episodes, at most `batch` at a time, each batch from its own seed.

    `make_env(num_envs)` is called once for each size of batch. Equal arguments give equal episodes;
    another `batch` gives others.
    """
    envs: dict[int, VectorEnv] = {}
    tallies = []
    for index, start in enumerate(range(0, episodes, batch)):
        size = min(batch, episodes - start)
        if size not in envs:
            envs[size] = make_env(size)
        actor = policy.start(layout, size)
        tallies.append(score(envs[size], actor, seed=batch_seed(seed, index), on_step=on_step))
    return joined(tallies)


def batch_seed(seed: int, index: int) -> int:
    """The seed of the batch `index` of a series of batches."""
    return int(np.random.SeedSequence([seed, index]).generate_state(1, np.uint64)[0] >> 1)


def joined(tallies: list[Tally]) -> Tally:
    """The results of several batches, one after the other."""
    return Tally(
        returns=np.concatenate([tally.returns for tally in tallies]),
        won=np.concatenate([tally.won for tally in tallies]),
        lengths=np.concatenate([tally.lengths for tally in tallies]),
    )


def _empty(layout: Layout, count: int) -> Episodes:
    lead, agents, width = (count, layout.episode_limit + 1), layout.num_agents, layout.num_actions
    if layout.continuous:
        actions = np.zeros((*lead, agents, width), np.float32)
    else:
        actions = np.zeros((*lead, agents), np.int64)
    return Episodes(
        obs=np.zeros((*lead, agents, layout.obs_size), np.float32),
        state=np.zeros((*lead, layout.state_size), np.float32),
        actions=actions,
        avail_actions=np.zeros((*lead, agents, width), bool),
        reward=np.zeros(lead, np.float32),
        terminated=np.zeros(lead, bool),
        truncated=np.zeros(lead, bool),
        filled=np.zeros(lead, bool),
    )


def _write_frame(episodes: Episodes, t: int, frame: Frame, rows: np.ndarray) -> None:
    episodes.obs[rows, t] = frame.obs[rows]
    episodes.state[rows, t] = frame.state[rows]
    episodes.avail_actions[rows, t] = frame.avail_actions[rows]
    episodes.filled[rows, t] = True

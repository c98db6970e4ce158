"""Small layouts and batches for the tests of STAIRS."""

import numpy as np
import torch
from lab_marl.episodes.batches import Batch, make_batch
from lab_marl.episodes.episodes import Episodes
from lab_marl.episodes.layouts import EntityBlock, Layout


def grid_layout(agents: int = 2) -> Layout:
    """Agents and as many landmarks: own 2 | allies x 2 | landmarks x 2, five moves."""
    return Layout(
        task=f"test-grid-{agents}",
        family="grid",
        num_agents=agents,
        num_enemies=agents,
        num_non_attack=5,
        attacks=False,
        obs_size=4 * agents,
        state_size=4 * agents,
        own=((0, 2),),
        allies=EntityBlock(2, agents - 1, 2),
        enemies=EntityBlock(2 * agents, agents, 2),
        state_allies=EntityBlock(0, agents, 2),
        state_enemies=EntityBlock(2 * agents, agents, 2),
        episode_limit=12,
    )


def marine_layout(allies: int = 3, enemies: int = 3) -> Layout:
    """SMAC's shapes for marines: 4 moves | enemies x 5 | allies x 5 | health; attacks."""
    obs = 4 + 5 * enemies + 5 * (allies - 1) + 1
    actions = 6 + enemies
    return Layout(
        task=f"test-marines-{allies}-{enemies}",
        family="battle",
        num_agents=allies,
        num_enemies=enemies,
        num_non_attack=6,
        attacks=True,
        obs_size=obs,
        state_size=4 * allies + 3 * enemies + allies * actions,
        own=((0, 4), (obs - 1, obs)),
        allies=EntityBlock(4 + 5 * enemies, allies - 1, 5),
        enemies=EntityBlock(4, enemies, 5),
        state_allies=EntityBlock(0, allies, 4),
        state_enemies=EntityBlock(4 * allies, enemies, 3),
        state_actions=4 * allies + 3 * enemies,
        episode_limit=12,
    )


def random_episodes(
    layout: Layout, transitions: list[int], *, seed: int = 0, cut: bool = False
) -> Episodes:
    """Episodes of these numbers of transitions with random contents, each action an allowed one.

    The last transition terminates; with `cut` it is cut off instead.
    """
    rng = np.random.default_rng(seed)
    count, frames = len(transitions), max(transitions) + 1
    lead, agents, actions = (count, frames), layout.num_agents, layout.num_actions
    filled = np.arange(frames) < np.array(transitions)[:, None] + 1
    avail = rng.random((*lead, agents, actions)) < 0.7
    avail[..., 1] = True
    chosen = (np.where(avail, rng.random(avail.shape), -1)).argmax(-1)
    begins = np.arange(frames) < np.array(transitions)[:, None]
    ends = np.arange(frames) == np.array(transitions)[:, None] - 1
    return Episodes(
        obs=rng.normal(size=(*lead, agents, layout.obs_size)).astype(np.float32)
        * filled[..., None, None],
        state=rng.normal(size=(*lead, layout.state_size)).astype(np.float32) * filled[..., None],
        actions=chosen * begins[..., None],
        avail_actions=avail & filled[..., None, None],
        reward=rng.normal(size=lead).astype(np.float32) * begins,
        terminated=ends & (not cut),
        truncated=ends & cut,
        filled=filled,
    )


def random_batch(
    layout: Layout, transitions: list[int], *, seed: int = 0, cut: bool = False
) -> Batch:
    """`random_episodes` as one batch on the CPU."""
    episodes = random_episodes(layout, transitions, seed=seed, cut=cut)
    return make_batch(layout, episodes, np.arange(len(transitions)), device=torch.device("cpu"))

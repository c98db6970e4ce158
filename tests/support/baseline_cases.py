"""Batches and weights by formula, for which the published code of the baselines was run."""

import io
from typing import Any

import numpy as np
import torch
from lab_marl.environments.interface import Frame, Policy
from lab_marl.episodes.batches import Batch, make_batch
from lab_marl.episodes.episodes import Episodes
from lab_marl.episodes.layouts import Layout
from lab_marl.networks.config import TransformerConfig
from lab_stairs.config import MixerConfig
from torch import nn

CPU = torch.device("cpu")
SMALL: dict[str, Any] = {"transformer": TransformerConfig(width=8)}
MIXED: dict[str, Any] = SMALL | {
    "mixer": MixerConfig(entity_width=8, attention_width=4, hyper_width=8, mixing_width=4)
}


def waves(*shape: int, step: float) -> np.ndarray:
    """sin(step), sin(2 step), ... in the given shape, float32."""
    return np.sin(step * np.arange(1, np.prod(shape) + 1)).reshape(shape).astype(np.float32)


def set_weights(
    module: nn.Module, *, size: float = 0.5, step: float = 0.7, place: float = 4.1
) -> None:
    """Every parameter becomes a sine of its own phase; names in order."""
    with torch.no_grad():
        for number, (_, values) in enumerate(sorted(module.named_parameters())):
            phase = step * torch.arange(values.numel()) + place * number
            values.copy_(size * torch.sin(phase).view(values.shape))


def wave_episodes(
    layout: Layout,
    transitions: list[int],
    *,
    obs: float = 0.9,
    state: float = 1.3,
    reward: float = 1.1,
) -> Episodes:
    """Episodes of these numbers of transitions; every action is allowed but one now and then."""
    count, frames, agents = len(transitions), max(transitions) + 1, layout.num_agents
    lead = (count, frames)
    ends = np.array(transitions)[:, None]
    filled, begins = np.arange(frames) < ends + 1, np.arange(frames) < ends
    number = np.arange(count * frames * agents).reshape(*lead, agents)
    actions = (number * 7 + number // 5) % layout.num_actions
    forbidden = (actions + 1 + number % 2) % layout.num_actions
    avail = np.ones((*lead, agents, layout.num_actions), bool)
    np.put_along_axis(avail, forbidden[..., None], False, -1)
    return Episodes(
        obs=waves(*lead, agents, layout.obs_size, step=obs) * filled[..., None, None],
        state=waves(*lead, layout.state_size, step=state) * filled[..., None],
        actions=actions * filled[..., None],
        avail_actions=avail & filled[..., None, None],
        reward=waves(*lead, step=reward) * begins,
        terminated=np.arange(frames) == ends - 1,
        truncated=np.zeros(lead, bool),
        filled=filled,
    )


def wave_batch(layout: Layout, transitions: list[int], **steps: float) -> Batch:
    episodes = wave_episodes(layout, transitions, **steps)
    return make_batch(layout, episodes, np.arange(len(transitions)), device=CPU)


def through_a_file(state: dict[str, Any]) -> dict[str, Any]:
    """The state as a checkpoint gives it back."""
    stored = io.BytesIO()
    torch.save(state, stored)
    stored.seek(0)
    return torch.load(stored, weights_only=True)


def continues_exactly(make: Any, batches: list[Batch], *, saved_after: int) -> bool:
    """Whether a learner that was saved and loaded on the way ends with the same state and metrics
    as one that was not, bit for bit."""
    torch.manual_seed(0)
    whole = make()
    expected = _advance(whole, batches, 0)[saved_after:]
    torch.manual_seed(0)
    first = make()
    _advance(first, batches[:saved_after], 0)
    torch.manual_seed(5)
    second = make()
    second.load_state_dict(through_a_file(first.state_dict()))
    metrics = _advance(second, batches[saved_after:], saved_after)
    return metrics == expected and same(whole.state_dict(), second.state_dict())


def _advance(learner: Any, batches: list[Batch], start: int) -> list[dict[str, float]]:
    metrics = []
    for step, batch in enumerate(batches, start):
        torch.manual_seed(step)
        metrics.append(learner.update(batch))
    return metrics


def same(a: Any, b: Any) -> bool:
    """Whether two states hold the same numbers."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


def replay(policy: Policy, batch: Batch) -> Batch:
    """The batch with the actions that the policy takes at its frames; episodes of one length."""
    actor = policy.start(batch.layout, batch.obs.shape[1])
    live = np.ones(batch.obs.shape[1], bool)
    actions = []
    for obs, state, available in zip(batch.obs, batch.state, batch.avail_actions, strict=True):
        frame = Frame(obs.numpy(), state.numpy(), available.numpy())
        actions.append(torch.from_numpy(actor(frame, live)))
    return Batch(**{**vars(batch), "actions": torch.stack(actions)})


def best(scores: torch.Tensor, batch: Batch) -> torch.Tensor:
    """(T, B, n): the available actions of the highest scores (rows, n, a)."""
    available = batch.avail_actions.flatten(0, 1)
    return scores.masked_fill(~available, -torch.inf).argmax(-1).view(batch.actions.shape)

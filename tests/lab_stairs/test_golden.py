"""The networks against the published implementation's values, and the fast one against the
reference (benchmarks/stairs_reference.py) in its losses and gradients."""

import importlib.util
import os
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from lab_marl.episodes.batches import Batch, make_batch
from lab_marl.episodes.episodes import Episodes
from lab_marl.episodes.layouts import EntityBlock, Layout
from lab_marl.training.entity_features import entity_features, last_actions
from lab_stairs.blocks import stacked
from lab_stairs.config import MixerConfig, NetworkConfig, StairsConfig
from lab_stairs.learner import StairsLearner
from lab_stairs.mixer import AttentionMixer
from lab_stairs.network import StairsNetwork, q_values, unroll
from torch import Tensor, nn

ROOT = Path(__file__).parents[2]
OWN = ROOT / "tests" / "golden" / "stairs_cn.npz"
GOLDEN = dict(np.load(os.environ.get("STAIRS_GOLDEN", OWN)))
GOLDEN_CONFIG = StairsConfig(
    network=NetworkConfig(width=16, heads=2), mixer=MixerConfig(entity_width=16)
)
SMALL = {"network": NetworkConfig(width=8), "mixer": MixerConfig(entity_width=8)}


def load_reference() -> ModuleType:
    path = ROOT / "benchmarks" / "stairs_reference.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


reference = load_reference()


def grid(n: int, limit: int) -> Layout:
    """cn-n: own xy, the others' xy, the landmarks' xy; the state has the agents' and landmarks'."""
    return Layout(
        task=f"cn-{n}",
        family="grid",
        num_agents=n,
        num_enemies=n,
        num_non_attack=5,
        attacks=False,
        obs_size=4 * n,
        state_size=4 * n,
        own=((0, 2),),
        allies=EntityBlock(2, n - 1, 2),
        enemies=EntityBlock(2 * n, n, 2),
        state_allies=EntityBlock(0, n, 2),
        state_enemies=EntityBlock(2 * n, n, 2),
        episode_limit=limit,
    )


SMAC = Layout(
    task="3m",
    family="smac",
    num_agents=3,
    num_enemies=3,
    num_non_attack=6,
    attacks=True,
    obs_size=30,
    state_size=48,
    own=((0, 4), (29, 30)),
    allies=EntityBlock(19, 2, 5),
    enemies=EntityBlock(4, 3, 5),
    state_allies=EntityBlock(0, 3, 4),
    state_enemies=EntityBlock(12, 3, 3),
    episode_limit=7,
    state_actions=21,
)
LAYOUTS = {"grid": grid(3, limit=7), "smac": SMAC}
LENGTHS = (3, 7, 1, 5, 7)
"""Transitions; the last episode is cut off at the limit, the others are over."""


def ragged(layout: Layout, *, seed: int) -> Batch:
    """Random episodes of `LENGTHS` transitions as make_batch hands them on."""
    rng = np.random.default_rng(seed)
    lengths, frames = np.array(LENGTHS), np.arange(layout.episode_limit + 1)
    filled = frames <= lengths[:, None]
    ends = frames == lengths[:, None] - 1
    truncated = ends & (np.arange(len(lengths)) == len(lengths) - 1)[:, None]
    n, a = layout.num_agents, layout.num_actions

    def noise(*shape: int) -> np.ndarray:
        made = rng.standard_normal((*filled.shape, *shape)).astype(np.float32)
        return made * filled.reshape(*filled.shape, *[1] * len(shape))

    actions = rng.integers(0, a, (*filled.shape, n)) * filled[..., None]
    available = rng.random((*filled.shape, n, a)) < 0.6
    np.put_along_axis(available, actions[..., None], True, -1)
    episodes = Episodes(
        obs=noise(n, layout.obs_size),
        state=noise(layout.state_size),
        actions=actions,
        avail_actions=available & filled[..., None, None],
        reward=noise(),
        terminated=ends & ~truncated,
        truncated=truncated,
        filled=filled,
    )
    return make_batch(layout, episodes, np.arange(len(lengths)), device="cpu")


def in_precision(batch: Batch, dtype: torch.dtype) -> Batch:
    names = ("obs", "state", "reward", "terminated", "filled")
    return replace(batch, **{name: getattr(batch, name).to(dtype) for name in names})


def padded(batch: Batch, frames: int) -> Batch:
    """`frames` more frames in which no episode has anything."""

    def longer(values: Tensor) -> Tensor:
        return torch.cat([values, values.new_zeros(frames, *values.shape[1:])])

    names = ("obs", "state", "actions", "avail_actions", "reward", "terminated", "filled")
    tensors = {name: longer(getattr(batch, name)) for name in names}
    return replace(batch, **tensors, counts=batch.counts + (0,) * frames)


def golden_batch(task: str) -> Batch:
    """The file's episodes, time first, in its order."""

    def values(name: str) -> Tensor:
        return torch.from_numpy(GOLDEN[f"{task}/{name}"]).transpose(0, 1)

    return Batch(
        layout=grid(int(task.removeprefix("cn-")), limit=50),
        obs=values("obs"),
        state=values("state"),
        actions=values("actions").squeeze(-1),
        avail_actions=values("avail_actions").bool(),
        reward=values("reward").squeeze(-1),
        terminated=values("terminated").squeeze(-1).float(),
        filled=values("filled").squeeze(-1).float(),
        counts=(values("obs").shape[1],) * values("obs").shape[0],
    )


def golden_weights(part: str) -> dict[str, Tensor]:
    names = [name for name in GOLDEN if name.startswith(f"{part}/")]
    return {name.removeprefix(f"{part}/"): torch.from_numpy(GOLDEN[name]) for name in names}


def assert_published(task: str, q: Tensor, q_tot: Tensor) -> None:
    """To 1e-4 of the published values.

    The absolute part, for values near 0, is 5e-5 of Q (the published float32 values lie up to 1e-5
    from the same arithmetic in float64) and 1e-3 of Q_tot, which is of the order of 100.
    """
    q, q_tot = q.transpose(0, 1), q_tot.transpose(0, 1)
    np.testing.assert_allclose(q.numpy(), GOLDEN[f"{task}/q"], rtol=1e-4, atol=5e-5)
    expected = GOLDEN[f"{task}/q_tot"].squeeze(-1)
    np.testing.assert_allclose(q_tot.numpy(), expected, rtol=1e-4, atol=1e-3)


def taken(q: Tensor, batch: Batch) -> Tensor:
    return q.gather(-1, batch.actions.unsqueeze(-1)).squeeze(-1)


@pytest.mark.parametrize("task", ["cn-2", "cn-4"])
@torch.no_grad()
def test_the_reference_gives_the_published_values(task):
    batch = golden_batch(task)
    networks = reference.Networks(batch.layout, GOLDEN_CONFIG)
    networks.agent.load_state_dict(golden_weights("agent"))
    networks.mixer.load_state_dict(golden_weights("mixer"))
    q = networks.agent(batch)
    assert_published(task, q, networks.mixer(taken(q, batch), batch.state, batch.layout))


def fast_q(network: StairsNetwork, batch: Batch, rows: Tensor) -> Tensor:
    """Q [rows, n, a] of the fast network at the frames `rows` (T, B) bool."""
    features = entity_features(batch.layout, batch.obs[rows], last_actions(batch)[rows], id_bits=4)
    counts, weights = [int(count) for count in rows.sum(1)], stacked([network])
    read = unroll(weights, network.config, batch.layout, features, counts)
    return q_values(weights, batch.layout, read)[0]


@pytest.mark.parametrize("task", ["cn-2", "cn-4"])
@torch.no_grad()
def test_the_fast_network_gives_the_published_values(task):
    batch = golden_batch(task)
    layout, everywhere = batch.layout, torch.ones_like(batch.filled).bool()
    network = StairsNetwork(layout, GOLDEN_CONFIG.network, outputs=layout.num_non_attack)
    mixer = AttentionMixer(layout, GOLDEN_CONFIG.mixer)
    network.load_state_dict(reference.fast_names(golden_weights("agent")))
    mixer.load_state_dict(reference.fast_names(golden_weights("mixer")))
    q = fast_q(network, batch, everywhere).view(*batch.actions.shape, -1)
    q_tot = mixer(layout, taken(q, batch).flatten(0, 1), batch.state.flatten(0, 1))
    assert_published(task, q, q_tot.view(batch.filled.shape))


def make_pair(
    layout: Layout, config: StairsConfig, dtype: torch.dtype
) -> tuple[nn.Module, nn.Module, StairsLearner]:
    """Reference online and target, and a learner with the same weights in both."""
    torch.manual_seed(0)
    online, target = (reference.Networks(layout, config).to(dtype) for _ in range(2))
    learner = StairsLearner([layout], config, device=torch.device("cpu"))
    for theirs, network, mixer in (
        (online, learner.network, learner.mixer),
        (target, learner.target_network, learner.target_mixer),
    ):
        network.to(dtype).load_state_dict(reference.fast_names(theirs.agent.state_dict()))
        mixer.to(dtype).load_state_dict(reference.fast_names(theirs.mixer.state_dict()))
    return online, target, learner


def gradients(module: nn.Module) -> dict[str, Tensor]:
    return {
        name: torch.zeros_like(weight) if weight.grad is None else weight.grad
        for name, weight in module.named_parameters()
    }


def assert_like_the_reference(layout: Layout, config: StairsConfig, dtype: torch.dtype) -> None:
    """Loss and every gradient; relative to each gradient's largest entry."""
    tolerance = 1e-4 if dtype == torch.float32 else 1e-6
    batch = in_precision(ragged(layout, seed=1), dtype)
    online, target, learner = make_pair(layout, config, dtype)
    keep = None
    if config.token_dropout:
        generator = torch.Generator().manual_seed(2)
        keep = reference.draw_keep(batch, config.token_dropout, generator)
    total, td, bc = reference.loss(online, target, batch, keep, config)
    rows = batch.filled.bool() | (config.bc_mask == "published")
    losses = learner.losses(batch, None if keep is None else keep[rows])
    for got, expected in ((losses.total, total), (losses.td, td), (losses.cloning, bc)):
        torch.testing.assert_close(got, expected, rtol=tolerance, atol=0)
    total.backward()
    losses.total.backward()
    for fast, theirs in ((learner.network, online.agent), (learner.mixer, online.mixer)):
        got, expected = gradients(fast), reference.fast_names(gradients(theirs))
        assert got.keys() == expected.keys()
        for name, value in expected.items():
            largest = max(float(value.abs().max()), 1e-3)
            message = f"{name}: " + "{}"
            torch.testing.assert_close(
                got[name], value, rtol=0, atol=tolerance * largest, msg=message.format
            )


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("bc_mask", ["published", "filled"])
@pytest.mark.parametrize("family", ["grid", "smac"])
def test_losses_and_gradients_equal_the_reference(family, bc_mask, dtype):
    config = StairsConfig(**SMALL, token_dropout=0.4, bc_mask=bc_mask)
    assert_like_the_reference(LAYOUTS[family], config, dtype)


@pytest.mark.parametrize("family", ["grid", "smac"])
@pytest.mark.parametrize(
    "network",
    [
        NetworkConfig(width=8, heads=2),
        NetworkConfig(width=8, h_cycles=2, l_cycles=2),
        NetworkConfig(width=8, h_cycles=3, l_cycles=2, schedule="hrm"),
        NetworkConfig(width=8, h_cycles=2, l_cycles=2, gradient="full"),
        NetworkConfig(width=8, high_step=2, ffn_factor=2, id_bits=3),
    ],
    ids=["heads", "cycles", "hrm", "full", "sizes"],
)
def test_every_form_of_the_network_equals_the_reference(family, network):
    config = StairsConfig(network=network, mixer=SMALL["mixer"], token_dropout=0.4)
    assert_like_the_reference(LAYOUTS[family], config, torch.float64)


@pytest.mark.parametrize("family", ["grid", "smac"])
def test_without_dropout_losses_equal_the_reference(family):
    config = StairsConfig(**SMALL, token_dropout=0.0, td_weight=0.5, bc_weight=2.0, gamma=0.9)
    assert_like_the_reference(LAYOUTS[family], config, torch.float64)


@pytest.mark.parametrize("family", ["grid", "smac"])
@torch.no_grad()
def test_packed_frames_have_the_values_of_padded_ones(family):
    layout, batch = LAYOUTS[family], ragged(LAYOUTS[family], seed=1)
    network = make_pair(layout, StairsConfig(**SMALL), torch.float32)[2].network
    filled = batch.filled.bool()
    everywhere = fast_q(network, batch, torch.ones_like(filled)).view(*batch.actions.shape, -1)
    packed = fast_q(network, batch, filled)
    torch.testing.assert_close(packed, everywhere[filled], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("bc_mask", ["filled", "published"])
def test_steps_that_no_episode_has_change_no_loss(bc_mask):
    """The published mask counts padding too, but only up to the end of the longest episode."""
    config = StairsConfig(**SMALL, bc_mask=bc_mask)
    learner, batch = make_pair(SMAC, config, torch.float32)[2], ragged(SMAC, seed=1)
    once, longer = learner.losses(batch, None), learner.losses(padded(batch, 3), None)
    torch.testing.assert_close(longer.td, once.td, rtol=1e-5, atol=0)
    torch.testing.assert_close(longer.cloning, once.cloning, rtol=1e-5, atol=0)

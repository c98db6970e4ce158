"""The compiled unroll against the same maths in float64."""

from dataclasses import replace

import pytest
import torch
from baseline_cases import continues_exactly
from lab_marl.episodes.batches import Batch
from lab_marl.kernel import unroll
from lab_marl.kernel.build import lacking
from lab_marl.kernel.unroll import MOST_TOKENS
from lab_marl.training.entity_features import EntityFeatures, entity_features, last_actions
from lab_stairs.config import NetworkConfig, StairsConfig
from lab_stairs.kernel_choice import open_kernel
from lab_stairs.learner import StairsLearner
from lab_stairs.network import draw_kept_tokens
from stairs_cases import grid_layout, marine_layout, random_batch
from torch import Tensor, nn

pytestmark = pytest.mark.skipif(bool(lacking()), reason=f"no compiled kernel: {lacking()}")
LAYOUTS = {
    "cn-2": grid_layout(2),
    "cn-4": grid_layout(4),
    "3m": marine_layout(3, 3),
    "9m_vs_10m": marine_layout(9, 10),
}
LENGTHS = [11, 9, 9, 7, 6, 5, 5, 4, 3, 2, 2, 1]
"""With four agents: a slab and a half at the first step, less than one at the last."""


def learner(layout, kernel: str, **settings) -> StairsLearner:
    torch.manual_seed(0)
    config = StairsConfig(kernel=kernel, **settings)
    made = StairsLearner([layout], config, device=torch.device("cpu"))
    with torch.no_grad():  # no gradient is zero by the start's symmetry
        for network in (made.network, made.target_network):
            for weight in network.parameters():
                weight += 0.02 * torch.randn_like(weight)
    return made


def gradients(network: nn.Module) -> dict[str, Tensor]:
    return {
        name: weight.grad for name, weight in network.named_parameters() if weight.grad is not None
    }


def values(made: StairsLearner, batch: Batch, keep: Tensor, dtype: torch.dtype) -> Tensor:
    """Q of every frame under token dropout, after the gradient of fixed slopes has gone back."""
    made.network.to(dtype)
    rows, layout = batch.packed(), batch.layout
    inputs = entity_features(layout, batch.obs[rows], last_actions(batch)[rows], id_bits=4)
    inputs = EntityFeatures(*(part.to(dtype) for part in vars(inputs).values()))
    q = made._trained_values(layout, inputs, batch.counts, keep)
    slopes = torch.randn(q.shape, generator=torch.Generator().manual_seed(3))
    (q * slopes.to(dtype)).sum().backward()
    return q.detach()


WHOLE = NetworkConfig()
ABLATED = [NetworkConfig(spatial=spatial, temporal=False) for spatial in (True, False)]
ABLATED += [NetworkConfig(spatial=False)]


@pytest.mark.parametrize(
    ("task", "lengths", "network"),
    [
        *((task, LENGTHS, WHOLE) for task in LAYOUTS),
        *(("cn-2", [50, 31], WHOLE), ("3m", [60, 8], WHOLE)),
        *((task, LENGTHS, network) for task in ("cn-4", "3m") for network in ABLATED),
    ],
)
def test_values_and_gradients_are_those_of_float64(task, lengths, network):
    """Within 2e-6, or half as much again as torch's own float32: after 60 steps that is 2.4e-6 on
    a processor with AVX-512."""
    layout = LAYOUTS[task]
    batch = random_batch(layout, lengths)
    compiled, plain, exact = (
        learner(layout, kernel, network=network) for kernel in ("cpp", "torch", "torch")
    )
    torch.manual_seed(1)
    keep = draw_kept_tokens(layout, batch.actions[batch.packed()], probability=0.2)
    q = values(compiled, batch, keep, torch.float32)
    values(plain, batch, keep, torch.float32)
    wanted = values(exact, batch, keep, torch.float64)
    assert (q.double() - wanted).abs().max() < 2e-6
    errors, torchs = (errors_of(made.network, exact.network) for made in (compiled, plain))
    limit = max(2e-6, 1.5 * max(torchs.values()))
    assert max(errors.values()) < limit, errors


def errors_of(network: nn.Module, exact: nn.Module) -> dict[str, float]:
    """The largest error of each gradient over its largest element."""
    got = gradients(network)
    return {
        name: float((got[name].double() - gradient).abs().max() / gradient.abs().max())
        for name, gradient in gradients(exact).items()
    }


@pytest.mark.parametrize("network", [WHOLE, *ABLATED])
@pytest.mark.parametrize("mask", ["published", "filled"])
@pytest.mark.parametrize("task", ["cn-2", "3m"])
def test_the_whole_loss_has_the_gradients_of_torchs_path(task, mask, network):
    layout = LAYOUTS[task]
    batch = random_batch(layout, LENGTHS)
    settings = {"bc_mask": mask, "network": network}
    made = {kernel: learner(layout, kernel, **settings) for kernel in ("cpp", "torch")}
    torch.manual_seed(1)
    keep = made["cpp"].draw_kept(batch)
    totals = {kernel: one.losses(batch, keep).total for kernel, one in made.items()}
    torch.testing.assert_close(totals["cpp"], totals["torch"])
    for total in totals.values():
        total.backward()
    got = gradients(made["cpp"].network)
    for name, gradient in gradients(made["torch"].network).items():
        largest = float(gradient.abs().max())
        torch.testing.assert_close(got[name], gradient, rtol=0, atol=1e-4 * largest, msg=name)


@pytest.mark.parametrize("cut", [False, True])
def test_frames_that_nobody_reads_change_no_loss(cut):
    layout = LAYOUTS["3m"]
    batch = random_batch(layout, [4, 2, 2, 1], cut=cut)
    for mask in ("published", "filled"):
        made = {kernel: learner(layout, kernel, bc_mask=mask) for kernel in ("cpp", "torch")}
        terms = {kernel: vars(one.losses(batch, None)) for kernel, one in made.items()}
        for name, value in terms["torch"].items():
            torch.testing.assert_close(terms["cpp"][name], value, msg=f"{mask} {name}")


def test_a_terminal_episode_before_one_cut_off_at_the_same_length_is_packed_like_it():
    layout = LAYOUTS["cn-2"]
    batch = random_batch(layout, [4, 4])
    terminated = batch.terminated.clone()
    terminated[3, 1] = 0  # the second episode is cut off: its last frame's value is read
    batch = replace(batch, terminated=terminated)
    made = learner(layout, "cpp")
    assert made.passes(batch).bootstrap.inside.sum(0).tolist() == [5, 5]
    plain = learner(layout, "torch").losses(batch, None)
    torch.testing.assert_close(made.losses(batch, None).target, plain.target)


def test_two_updates_with_one_tape_are_two_updates_with_fresh_ones():
    layout = LAYOUTS["cn-2"]
    batch = random_batch(layout, [5, 3])
    one, other = (learner(layout, "cpp") for _ in range(2))
    for step in range(3):
        for made in (one, other):
            torch.manual_seed(step)
            made.update(batch)
        assert other.kernel is not None
        other.kernel.spare = None
    for name, value in one.network.state_dict().items():
        torch.testing.assert_close(other.network.state_dict()[name], value, rtol=0, atol=0)


def test_an_update_takes_one_tape_that_of_the_pass_with_a_gradient(monkeypatch):
    layout = LAYOUTS["cn-4"]
    batch = random_batch(layout, LENGTHS)
    made, sizes = learner(layout, "cpp"), []
    kernel = made.kernel
    assert kernel is not None

    def tape(size: int) -> Tensor:
        sizes.append(size)
        return torch.empty(size)

    monkeypatch.setattr(kernel, "tape", tape)
    made.update(batch)
    assert kernel.spare is not None
    assert sizes == [kernel.spare.numel()]


def test_a_pass_without_a_gradient_has_the_values_of_one_with_it():
    layout = LAYOUTS["9m_vs_10m"]
    batch = random_batch(layout, LENGTHS)
    made, rows = learner(layout, "cpp"), batch.packed()
    inputs = entity_features(layout, batch.obs[rows], last_actions(batch)[rows], id_bits=4)
    with_it = made._trained_values(layout, inputs, batch.counts, None)
    with torch.no_grad():
        without = made._trained_values(layout, inputs, batch.counts, None)
    assert with_it.requires_grad
    assert not without.requires_grad
    torch.testing.assert_close(without, with_it.detach(), rtol=0, atol=0)


def test_a_batch_whose_tape_is_too_large_goes_forward_twice_and_has_equal_gradients(monkeypatch):
    layout = LAYOUTS["cn-4"]
    batch = random_batch(layout, LENGTHS)
    found = []
    for most in (unroll.MOST_TAPE, 0):
        monkeypatch.setattr(unroll, "MOST_TAPE", most)
        made = learner(layout, "cpp")
        made.losses(batch, None).total.backward()
        assert made.kernel is not None
        assert made.kernel.spare is not None
        found.append((gradients(made.network), made.kernel.spare.numel()))
    (kept, whole), (again, of_one_slab) = found
    for name, gradient in kept.items():
        torch.testing.assert_close(again[name], gradient, rtol=0, atol=0)
    assert of_one_slab < whole


def test_resumed_training_is_exact():
    layout = LAYOUTS["cn-2"]
    batches = [random_batch(layout, [5, 3], seed=seed) for seed in range(4)]
    config = StairsConfig(kernel="cpp", target_update_every=2)
    assert continues_exactly(
        lambda: StairsLearner([layout], config, device=torch.device("cpu")),
        batches,
        saved_after=2,
    )


def test_a_width_of_32_with_a_small_feed_forward_net_is_served():
    layout, network = LAYOUTS["3m"], NetworkConfig(width=32, ffn_factor=2, high_step=2)
    batch = random_batch(layout, [4, 2])
    losses = [
        learner(layout, kernel, network=network).losses(batch, None).total
        for kernel in ("cpp", "torch")
    ]
    torch.testing.assert_close(*losses)


def test_a_value_that_is_not_finite_stays_so():
    layout = LAYOUTS["cn-2"]
    batch = random_batch(layout, [3])
    made = learner(layout, "cpp")
    batch.obs[1] = torch.nan
    assert not torch.isfinite(made.losses(batch, None).total)


def test_the_most_tokens_are_those_of_the_source():
    assert open_kernel(NetworkConfig()).library.unroll_most_tokens() == MOST_TOKENS

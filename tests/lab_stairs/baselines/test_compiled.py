"""UPDeT and ODIS with the compiled transformer: torch's losses and gradients, in both stages."""

import pytest
import torch
from baseline_cases import CPU, continues_exactly
from lab_marl.kernel.build import lacking
from lab_marl.networks.config import TransformerConfig
from lab_stairs.baselines.config import ODISConfig, UPDeTConfig
from lab_stairs.baselines.odis.learner import ODISLearner
from lab_stairs.baselines.updet import UPDeTLearner
from stairs_cases import grid_layout, marine_layout, random_batch
from torch import nn

pytestmark = pytest.mark.skipif(bool(lacking()), reason=f"no compiled kernel: {lacking()}")
LAYOUTS = {"cn-4": grid_layout(4), "3m": marine_layout(3, 3)}
LENGTHS = [11, 9, 7, 6, 5, 4, 2, 1]


def updet(layout, kernel: str) -> UPDeTLearner:
    torch.manual_seed(0)
    config = UPDeTConfig(transformer=TransformerConfig(kernel=kernel))
    return UPDeTLearner([layout], config, device=CPU)


def odis(layout, kernel: str, *, share: float) -> ODISLearner:
    torch.manual_seed(0)
    config = ODISConfig(transformer=TransformerConfig(kernel=kernel), pretrain_share=share)
    return ODISLearner([layout], config, device=CPU)


def perturb(network: nn.Module) -> None:
    """No gradient is zero by the start's symmetry."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in network.parameters():
            weight += 0.02 * torch.randn(weight.shape, generator=generator)


def assert_same_gradients(one: nn.Module, other: nn.Module) -> None:
    """Within 1e-4 of a tensor's largest gradient, or 1e-7 of the largest of all."""
    found = {n: w.grad for n, w in other.named_parameters() if w.grad is not None}
    least = 1e-7 * max(float(wanted.abs().max()) for wanted in found.values())
    own = {n: w.grad for n, w in one.named_parameters() if w.grad is not None}
    assert own.keys() == found.keys()
    for name, wanted in found.items():
        limit = max(1e-4 * float(wanted.abs().max()), least)
        torch.testing.assert_close(own[name], wanted, rtol=0, atol=limit, msg=name)


@pytest.mark.parametrize("task", LAYOUTS)
def test_updets_losses_and_gradients_are_torchs(task):
    layout = LAYOUTS[task]
    batch = random_batch(layout, LENGTHS)
    compiled, plain = (updet(layout, kernel) for kernel in ("cpp", "torch"))
    for made in (compiled, plain):
        perturb(made.online)
        made.losses(batch).total.backward()
    torch.testing.assert_close(vars(compiled.losses(batch)), vars(plain.losses(batch)))
    assert_same_gradients(compiled.online, plain.online)
    assert compiled.remarks() == ("kernel of the transformers: cpp (as set)",)


@pytest.mark.parametrize("share", [0.0, 0.5], ids=["policy", "discovery"])
@pytest.mark.parametrize("task", LAYOUTS)
def test_the_losses_and_gradients_of_both_stages_of_odis_are_torchs(task, share):
    layout = LAYOUTS[task]
    batch = random_batch(layout, LENGTHS)
    found = []
    for kernel in ("cpp", "torch"):
        made = odis(layout, kernel, share=share)
        assert made.discovering == (share > 0)
        perturb(made.network)
        torch.manual_seed(2)  # the skills are sampled
        losses = made.discovery_losses if share else made.policy_losses
        terms = losses(batch)
        terms["loss"].backward()
        found.append((made, {name: value.detach() for name, value in terms.items()}))
    (compiled, got), (plain, wanted) = found
    torch.testing.assert_close(got, wanted)
    assert_same_gradients(compiled.network, plain.network)


@pytest.mark.parametrize("method", ["updet", "odis"])
def test_the_learner_goes_on_exactly(method):
    layout = LAYOUTS["cn-4"]
    batch = random_batch(layout, LENGTHS)

    def make():
        return updet(layout, "cpp") if method == "updet" else odis(layout, "cpp", share=0.0)

    assert continues_exactly(make, [batch] * 3, saved_after=2)

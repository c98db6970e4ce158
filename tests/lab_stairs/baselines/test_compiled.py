"""The baselines with the compiled transformer: torch's losses and gradients, in all stages."""

from dataclasses import replace

import pytest
import torch
from baseline_cases import CPU, continues_exactly
from lab_marl.episodes.batches import Batch
from lab_marl.kernel.build import lacking
from lab_marl.networks.config import TransformerConfig
from lab_stairs.baselines.config import HiSSDConfig, ODISConfig, UPDeTConfig
from lab_stairs.baselines.hissd.learner import HiSSDLearner
from lab_stairs.baselines.odis.learner import ODISLearner
from lab_stairs.baselines.updet import UPDeTLearner
from lab_stairs.methods import check_hissd, check_updet
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
    found = {n: w.grad.float() for n, w in other.named_parameters() if w.grad is not None}
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


def hissd(layout, kernel: str) -> HiSSDLearner:
    torch.manual_seed(0)
    config = HiSSDConfig(transformer=TransformerConfig(kernel=kernel))
    return HiSSDLearner([layout, replace(layout, task="other")], config, device=CPU)


@pytest.mark.parametrize("task", LAYOUTS)
def test_the_losses_and_gradients_of_the_three_parts_of_hissd_are_those_of_float64(task):
    """Torch's float32 switches a hidden unit of 3m whose input is almost 0."""
    layout = LAYOUTS[task]
    found = []
    for kernel, dtype in (("cpp", torch.float32), ("torch", torch.float64)):
        made, batch = hissd(layout, kernel), of_dtype(random_batch(layout, LENGTHS), dtype)
        perturb(made.network)
        for part in (made.network, made.mixer, made.target):
            part.to(dtype)
        torch.manual_seed(2)
        cloning, contrast = made.cloning_losses(batch)
        value = made.value_loss(batch)
        weight, prediction = made.planner_losses(batch)
        (cloning + contrast + value + prediction).backward()
        terms = {"cloning": cloning, "value": value, "weight": weight, "prediction": prediction}
        found.append((made, {name: float(term.detach()) for name, term in terms.items()}))
    (compiled, got), (exact, wanted) = found
    assert got == pytest.approx(wanted, rel=1e-5)
    assert_same_gradients(compiled.network, exact.network)


def of_dtype(batch: Batch, dtype: torch.dtype) -> Batch:
    numbers = {n: v for n, v in vars(batch).items() if torch.is_tensor(v)}
    return replace(batch, **{n: v.to(dtype) for n, v in numbers.items() if v.is_floating_point()})


def test_hissds_controller_has_two_tokens_of_each_entity():
    """15 against 20 are 35 entities: 37 tokens with the histories, 72 of the controller."""
    layout = marine_layout(15, 20)
    assert path(UPDeTConfig(max_steps=5000), check_updet, layout).startswith("cpp")
    said = "torch (task 'test-marines-15-20' has 72 tokens, the compiled kernel takes 64)"
    assert path(HiSSDConfig(max_steps=5000), check_hissd, layout) == said


def path(config, check, layout) -> str:
    layouts = [layout, replace(layout, task="other")]
    return str(check(replace(config, device="cpu"), layouts, layouts)["kernel"])


@pytest.mark.parametrize("method", ["updet", "odis", "hissd"])
def test_the_learner_goes_on_exactly(method):
    layout = LAYOUTS["cn-4"]
    batch = random_batch(layout, LENGTHS)

    def make():
        if method == "odis":
            return odis(layout, "cpp", share=0.0)
        return updet(layout, "cpp") if method == "updet" else hissd(layout, "cpp")

    assert continues_exactly(make, [batch] * 3, saved_after=2)

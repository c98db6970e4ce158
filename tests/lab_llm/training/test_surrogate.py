"""The surrogate's terms and reductions against values worked out by hand."""

import math
from dataclasses import replace

import pytest
import torch
from lab_llm.training.config import GRPOSettings
from lab_llm.training.objective import Surrogate, TokenPass
from lab_llm.training.rollouts import Rollouts
from lab_llm.training.surrogate import (
    clipped_surrogate,
    importance_ratio,
    is_clipped,
    kl_to_reference,
    mean_over_length,
    mean_over_rollouts,
    mean_over_tokens,
)


def tensor(*rows: list[float]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float64)


RATIOS = tensor([0.5, 0.9, 1.0, 1.1, 1.5, 4.0])
CLIP = {"epsilon_low": 0.2, "epsilon_high": 0.3}


def test_the_ratio_is_of_the_probabilities():
    # .6 / .3 and .1 / .4
    got = importance_ratio(tensor([0.6, 0.1]).log(), tensor([0.3, 0.4]).log())
    torch.testing.assert_close(got, tensor([2.0, 0.25]))


def test_a_gain_is_capped_above_and_never_below():
    got = clipped_surrogate(RATIOS, torch.full_like(RATIOS, 2.0), **CLIP)
    # -min(2 rho, 2 clip(rho, .8, 1.3))
    torch.testing.assert_close(got, tensor([-1.0, -1.8, -2.0, -2.2, -2.6, -2.6]))


def test_a_loss_is_capped_below_and_never_above():
    got = clipped_surrogate(RATIOS, torch.full_like(RATIOS, -2.0), **CLIP)
    # -min(-2 rho, -2 clip(rho, .8, 1.3)) = 2 max(rho, clip)
    torch.testing.assert_close(got, tensor([1.6, 1.8, 2.0, 2.2, 3.0, 8.0]))


def test_the_dual_clip_caps_the_loss_of_a_token_that_became_far_more_probable():
    lost = clipped_surrogate(RATIOS, torch.full_like(RATIOS, -2.0), **CLIP, delta=3.0)
    torch.testing.assert_close(lost, tensor([1.6, 1.8, 2.0, 2.2, 3.0, 6.0]))
    gained = clipped_surrogate(RATIOS, torch.full_like(RATIOS, 2.0), **CLIP, delta=3.0)
    torch.testing.assert_close(gained, tensor([-1.0, -1.8, -2.0, -2.2, -2.6, -2.6]))


def test_a_clipped_token_has_no_gradient():
    ratios = RATIOS.clone().requires_grad_()
    clipped_surrogate(ratios, torch.full_like(RATIOS, 2.0), **CLIP).sum().backward()
    assert ratios.grad is not None
    assert ratios.grad.tolist() == [[-2, -2, -2, -2, 0, 0]]


def test_tokens_count_as_clipped_on_the_side_of_their_advantage():
    ratios = tensor([0.5, 0.5, 1.5, 1.5, 1.0, 0.5])
    advantages = tensor([-1.0, 1.0, -1.0, 1.0, 1.0, 0.0])
    got = is_clipped(ratios, advantages, **CLIP)
    assert got.tolist() == [[True, False, False, True, False, False]]


def test_the_kl_is_0_at_the_reference_and_k3_times_the_ratio_elsewhere():
    probabilities, ratio = tensor([0.5, 0.5, 0.2]), tensor([3.0, 1.0, 0.5])
    got = kl_to_reference(probabilities.log(), tensor([0.5, 0.25, 0.4]).log(), ratio)
    # r = 1, 1/2, 2: rho (r - log r - 1)
    expected = tensor([0.0, 0.5 + math.log(2) - 1, 0.5 * (2 - math.log(2) - 1)])
    torch.testing.assert_close(got, expected)


def test_the_gradient_of_the_kl_is_that_of_the_distributions():
    start, reference = tensor([0.3, 0.5, 0.2]), tensor([0.6, 0.3, 0.1])
    logits = start.log().requires_grad_()
    logprobs = logits.log_softmax(-1)
    # the mean over tokens drawn from p itself, each with its probability
    kl = kl_to_reference(logprobs, reference.log(), importance_ratio(logprobs, start.log()))
    (got,) = torch.autograd.grad((start * kl).sum(), logits)
    exact = logits.log_softmax(-1)
    divergence = (exact.exp() * (exact - reference.log())).sum()
    (expected,) = torch.autograd.grad(divergence, logits)
    torch.testing.assert_close(got, expected)


VALUES = tensor([1.0, 2.0, 3.0], [5.0, 9.0, 9.0])
MASK = tensor([1, 1, 1], [1, 0, 0])


def test_every_token_weighs_alike_in_dapo():
    # (1 + 2 + 3 + 5) / 4; as part of a step of 22 tokens, half
    assert mean_over_tokens(VALUES, MASK, num_tokens=torch.tensor(4.0)) == 11 / 4
    assert mean_over_tokens(VALUES, MASK, num_tokens=torch.tensor(22.0)) == 0.5


def test_every_rollout_weighs_alike_in_grpo():
    # ((1 + 2 + 3) / 3 + 5 / 1) / 2; a rollout without tokens is 0
    assert mean_over_rollouts(VALUES, MASK) == 3.5
    assert mean_over_rollouts(VALUES, tensor([1, 1, 1], [0, 0, 0])) == 1.0


def test_the_longest_rollout_divides_in_dr_grpo():
    # (1 + 2 + 3 + 5) / (2 * 5)
    assert mean_over_length(VALUES, MASK, length=5) == 1.1


class Given:
    """A pass of the policy whose probabilities are given: 1 of 2 micro-batches of a step."""

    num_micro_batches = 2

    def __init__(self, logprobs: torch.Tensor, entropies: torch.Tensor) -> None:
        self.recorded: dict[str, float] = {}
        self._pass = TokenPass(logprobs, entropies)

    def token_pass(self, batch: Rollouts) -> TokenPass:
        return self._pass

    def share(self, num_tokens: torch.Tensor) -> torch.Tensor:
        return num_tokens.double()

    def record(self, values, mask) -> None:
        means = {name: ((one * mask).sum() / mask.sum()).item() for name, one in values.items()}
        self.recorded |= means

    inside = hidden_states = None


def batch(**fields: torch.Tensor) -> Rollouts:
    """Two rollouts of advantages 1 and -1, whose tokens had probability 1/2."""
    ids = torch.zeros(2, 4, dtype=torch.long)
    ones = torch.ones_like(ids)
    return Rollouts(
        ids=ids,
        attention_mask=ones,
        loss_mask=MASK,
        rewards=torch.tensor([1.0, 0.0]),
        rollout_advantages=torch.tensor([1.0, -1.0]),
        advantages=tensor([1, 1, 1], [-1, 0, 0]),
        num_tokens=torch.tensor(8),
        old_logprobs=tensor([0.5] * 3, [0.5] * 3).log(),
        **fields,
    )


PROBABILITIES = tensor([0.5, 0.55, 0.9], [0.2, 0.3, 0.3])
# rho = 1, 1.1, 1.8 | .4; clipped at [.8, 1.2]: losses -1, -1.1, -1.2 | .8
ENTROPIES = tensor([0.1, 0.2, 0.3], [0.4, 9.0, 9.0])


def forward() -> Given:
    return Given(PROBABILITIES.log(), ENTROPIES)


@pytest.mark.parametrize(
    ("loss_type", "expected"),
    # dapo: -2.5 / 8; grpo: (-1.1 + .8) / 2 / 2; dr_grpo: -2.5 / (2 * 10) / 2
    [("dapo", -0.3125), ("grpo", -0.075), ("dr_grpo", -0.0625)],
)
def test_the_loss_is_the_clipped_surrogate_by_its_reduction(loss_type, expected):
    settings = GRPOSettings(loss_type=loss_type, max_completion_length=10)
    got = forward()
    loss = Surrogate(settings).loss(got, batch())
    assert loss.item() == pytest.approx(expected)
    # of four tokens the third is too probable and the fourth too improbable
    assert got.recorded == {
        "entropy": pytest.approx(0.25),
        "ratio_clip_fraction": pytest.approx(0.5),
    }


def test_without_old_logprobs_the_ratio_is_1_and_its_gradient_that_of_log_p():
    logprobs = PROBABILITIES.log().requires_grad_()
    fresh = batch()
    fresh = Rollouts(**{**vars(fresh), "old_logprobs": None})
    loss = Surrogate(GRPOSettings()).loss(Given(logprobs, ENTROPIES), fresh)
    loss.backward()
    assert loss.item() == pytest.approx(-(3 - 1) / 8)
    assert logprobs.grad is not None
    torch.testing.assert_close(logprobs.grad, tensor([-1, -1, -1], [1, 0, 0]) / 8)


def test_upper_clip_and_dual_clip_are_settings_of_the_loss():
    # the third token's loss is then -1.5
    high = Surrogate(GRPOSettings(epsilon_high=0.5))
    assert high.loss(forward(), batch()).item() == pytest.approx((-1 - 1.1 - 1.5 + 0.8) / 8)
    # the fourth, now of probability 1 and rho 2, has the loss 2, or delta
    far = PROBABILITIES.clone()
    far[1, 0] = 1.0
    for delta, loss in ((None, 2.0), (1.5, 1.5)):
        surrogate = Surrogate(GRPOSettings(dual_clip=delta))
        got = surrogate.loss(Given(far.log(), ENTROPIES), batch())
        assert got.item() == pytest.approx((-1 - 1.1 - 1.2 + loss) / 8)


def test_vllms_weight_multiplies_the_surrogate_and_not_the_kl():
    weight = tensor([2.0], [0.0])
    reference = tensor([0.25, 0.55, 0.9], [0.2, 0.3, 0.3]).log()
    given = batch(importance_weight=weight, reference_logprobs=reference)
    got = forward()
    loss = Surrogate(GRPOSettings(beta=0.5)).loss(got, given)
    kl = 0.5 + math.log(2) - 1  # of the first token, r = 1/2
    assert loss.item() == pytest.approx((2 * (-1 - 1.1 - 1.2) + 0.5 * kl) / 8)
    assert got.recorded["kl"] == pytest.approx(kl / 4)


@pytest.mark.parametrize("loss_type", ["dapo", "grpo", "dr_grpo"])
def test_the_entropy_bonus_is_a_mean_over_the_steps_tokens_whatever_the_reduction(loss_type):
    given = replace(batch(), num_tokens=torch.tensor(10))
    plain, with_bonus = (
        Surrogate(GRPOSettings(loss_type=loss_type, entropy_coef=coef)).loss(forward(), given)
        for coef in (0.0, 0.5)
    )
    # .5 * (.1 + .2 + .3 + .4) / 10: of the step's 10 tokens 4 are in this one of 2 micro-batches
    assert (plain - with_bonus).item() == pytest.approx(0.05)


def test_a_shape_makes_the_advantages_of_the_entropies_of_the_same_pass():
    def doubled(rollouts: Rollouts, entropies: torch.Tensor) -> torch.Tensor:
        return rollouts.advantages + entropies

    loss = Surrogate(GRPOSettings(), advantages_at_update=doubled).loss(forward(), batch())
    # A_t = 1.1, 1.2, 1.3 | -.6 times 1, 1.1, 1.2 | .8; nothing outside the mask
    assert loss.item() == pytest.approx(-(1.1 + 1.32 + 1.56 - 0.48) / 8)

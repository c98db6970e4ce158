"""The equations against values worked out by hand and against the reference file."""

import json
import math
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from lab_llm.training.advantages import in_uniform_group, rows_to_score
from lab_llm.training.objective import Objective, Surrogate
from lab_llm.training.rollouts import Rollouts
from lab_rlrt import objectives
from lab_rlrt.config import RLRTConfig
from lab_rlrt.methods import METHODS, make_objective
from lab_rlrt.teachers import SCORED, teacher_of

OWN = Path(__file__).parents[1] / "golden" / "rlrt_advantages.json"
GOLDEN = json.loads(Path(os.environ.get("RLRT_GOLDEN", OWN)).read_text())["cases"]
LN2 = math.log(2)


def tensor(values: object) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def scored(
    advantages: torch.Tensor,
    student: torch.Tensor,
    teacher: torch.Tensor,
    rewards: torch.Tensor,
    mask: torch.Tensor,
) -> Rollouts:
    """Rollouts of one prompt token each, whose teacher has spoken."""
    ids = torch.zeros(mask.shape[0], mask.shape[1] + 1, dtype=torch.long)
    return Rollouts(
        ids=ids,
        attention_mask=torch.ones_like(ids),
        loss_mask=mask,
        rewards=rewards,
        rollout_advantages=advantages,
        advantages=advantages[:, None] * mask,
        num_tokens=mask.sum(),
        student_logprobs=student,
        teacher_logprobs=teacher,
    )


def annotated(objective: Objective, *given: torch.Tensor) -> torch.Tensor:
    """A_t (B, T) by the objective."""
    return objective.annotate(scored(*given)).advantages


@pytest.mark.parametrize("case", GOLDEN, ids=range(len(GOLDEN)))
@pytest.mark.parametrize("method", ["rlrt", "rlrt_all", "following", "rlsd", "grpo"])
def test_token_advantages_equal_the_reference(case, method):
    tokens = torch.tensor(case["tokens"])[..., None]
    student = tensor(case["student_logprobs"]).gather(2, tokens)[..., 0]
    teacher = tensor(case["teacher_logprobs"]).gather(2, tokens)[..., 0]
    advantages, mask = tensor(case["advantages"]), tensor(case["completion_mask"])
    objective = make_objective(RLRTConfig(credit=method, lam=case["lam"], eps_w=case["eps_w"]))
    got = annotated(objective, advantages, student, teacher, tensor(case["rewards"]), mask)
    plain = advantages[:, None] * mask
    expected = plain if method == "grpo" else tensor(case["expected"][method])
    torch.testing.assert_close(got, expected, atol=1e-6, rtol=0)


def test_asymmetry_is_positive_where_the_teacher_is_surprised_and_carries_no_gradient():
    student = tensor([[math.log(0.5), math.log(0.2)]]).requires_grad_()
    teacher = tensor([[math.log(0.25), math.log(0.4)]])
    got = objectives.information_asymmetry(student, teacher)
    # log(.5/.25) = log 2; log(.2/.4) = -log 2
    torch.testing.assert_close(got, tensor([[LN2, -LN2]]))
    assert not got.requires_grad


def test_position_asymmetry_is_the_kl_over_the_vocabulary():
    student, teacher = tensor([[[0.5, 0.5]]]).log(), tensor([[[0.25, 0.75]]]).log()
    # .5 log(.5/.25) + .5 log(.5/.75) = .5 log 2 + .5 log(2/3)
    expected = 0.5 * LN2 + 0.5 * math.log(2 / 3)
    torch.testing.assert_close(
        objectives.position_asymmetry(student, teacher), tensor([[expected]])
    )


def test_position_asymmetry_bounds_the_squared_influence_by_pinsker():
    torch.manual_seed(0)
    student = torch.randn(3, 4, 9, dtype=torch.float64).log_softmax(-1)
    teacher = torch.randn(3, 4, 9, dtype=torch.float64).log_softmax(-1)
    influence = 0.5 * (student.exp() - teacher.exp()).abs().sum(-1)
    assert (influence**2 <= objectives.position_asymmetry(student, teacher) / 2).all()


def test_reversed_weight_is_the_probability_ratio_to_the_sign_of_the_advantage():
    asymmetry = tensor([[LN2], [LN2], [LN2]])
    got = objectives.reversed_weight(asymmetry, tensor([0.7, -0.3, 0.0]))
    torch.testing.assert_close(got, tensor([[2.0], [0.5], [1.0]]))


def test_following_weight_is_the_inverse():
    asymmetry = tensor([[LN2], [LN2]])
    got = objectives.following_weight(asymmetry, tensor([0.7, -0.3]))
    torch.testing.assert_close(got, tensor([[0.5], [2.0]]))


@pytest.mark.parametrize(
    ("gated", "of_the_wrong"), [(True, [-1.0, -1.0, -1.0]), (False, [-1.125, -0.875, -1.0])]
)
def test_weighted_advantage_mixes_clips_and_leaves_wrong_rollouts_to_the_gate(gated, of_the_wrong):
    # w = 3 clips to 1.5: 2 * (.75 + .25 * 1.5) = 2.25; w = .2 clips to .5: 2 * (.75 + .125) = 1.75
    got = objectives.weighted_advantage(
        tensor([2.0, -1.0, -1.0]),
        tensor([[3.0, 0.2, 1.0]] * 3),
        tensor([1.0, 0.0, 0.5]),
        lam=0.25,
        eps_w=0.5,
        gated=gated,
    )
    torch.testing.assert_close(got, tensor([[2.25, 1.75, 2.0], of_the_wrong, of_the_wrong]))


def test_clip_fraction_counts_only_tokens_of_the_mask():
    weight = tensor([[0.4, 1.0, 1.6, 9.0]])
    got = objectives.clip_fraction(weight, tensor([[1, 1, 1, 0]]), eps_w=0.5)
    torch.testing.assert_close(got, tensor(2 / 3))
    empty = objectives.clip_fraction(weight, torch.zeros(1, 4, dtype=torch.float64), eps_w=0.5)
    assert empty == 0


def test_lam_zero_is_grpo_for_every_method():
    torch.manual_seed(0)
    student, teacher = torch.randn(4, 3), torch.randn(4, 3)
    advantages, rewards = tensor([1.0, -1, 1, -1]), tensor([1.0, 0, 1, 0])
    mask = torch.ones(4, 3)
    for method in set(METHODS) - {"iw_opd"}:  # it has no A
        objective = make_objective(RLRTConfig(credit=method, lam=0.0))
        got = annotated(objective, advantages, student, teacher, rewards, mask)
        torch.testing.assert_close(got, advantages[:, None].expand(4, 3))


def test_rows_that_the_teacher_scores_per_method():
    # one mixed group, one all correct, one all wrong: only the mixed one has advantages
    rewards = tensor([1.0, 0, 1, 0, 1, 1, 1, 1, 0, 0, 0, 0])
    advantages = tensor([0.8, -0.8, 0.8, -0.8, 0, 0, 0, 0, 0, 0, 0, 0])
    counts = {
        method: int(rows_to_score(rewards, advantages, scored).sum())
        for method, scored in SCORED.items()
    }
    assert counts == {
        "rlsd": 4,
        "following": 2,
        "rlrt": 2,
        "rlrt_all": 4,
        "iw_opd": 12,
        "dasd": 12,
    }
    assert int(rows_to_score(rewards, advantages, "every").sum()) == 12


def test_a_group_of_equal_rewards_is_uniform_whatever_they_are():
    # groups (0, .5), (1, .5), (0, 0), (1, 1)
    rewards = tensor([0.0, 0.5, 1.0, 0.5, 0.0, 0.0, 1.0, 1.0])
    uniform = in_uniform_group(rewards, group_size=2)
    assert uniform.tolist() == [False, False, False, False, True, True, True, True]


def test_measures_of_a_correct_rollout():
    student, teacher = tensor([[LN2, 0.0], [0.0, 0.0]]), tensor([[0.0, 0.0], [0.0, 5.0]])
    objective = make_objective(RLRTConfig(credit="rlrt", eps_w=0.5))
    given = (tensor([0.8, -0.8]), student, teacher, tensor([1.0, 0.0]), torch.ones(2, 2))
    got = objective.measure(scored(*given))
    # mean of (log 2, 0); weights 2 and 1, of which 2 lies above 1.5
    assert got["asymmetry_correct"] == (pytest.approx(LN2 / 2), 2)
    assert got["weight_clip_fraction"] == (pytest.approx(0.5), 2)


def test_the_entropy_bonus_of_an_advantage_is_capped_by_a_share_of_it():
    advantages = tensor([[1.0, 1.0, -0.5, -0.5]])
    entropies = tensor([[0.5, 5.0, 0.1, 5.0]]).requires_grad_()
    got = objectives.entropy_shaped_advantage(advantages, entropies, alpha=0.4, kappa=2.0)
    # min(.2, .5), min(2, .5), min(.04, .25), min(2, .25)
    torch.testing.assert_close(got, tensor([[1.2, 1.5, -0.46, -0.25]]))
    assert not got.requires_grad


def test_methods_without_a_scoring_teacher_leave_the_advantage_alone():
    for method in ("grpo", "entropy_shaped"):
        assert make_objective(RLRTConfig(credit=method)).teacher is None
    sdpo = teacher_of(RLRTConfig(credit="sdpo"))
    assert sdpo is not None
    assert (sdpo.scored, sdpo.gives) == ("every", "sequences")


def test_the_entropy_shape_is_told_its_settings():
    config = RLRTConfig(credit="entropy_shaped", entropy_alpha=1.0, entropy_kappa=4.0)
    objective = make_objective(config)
    assert isinstance(objective, Surrogate)
    assert objective.advantages_at_update is not None
    nothing = torch.zeros(1, 2, dtype=torch.float64)
    batch = scored(tensor([2.0]), nothing, nothing, tensor([1.0]), torch.ones_like(nothing))
    # 2 + min(1 * .3, 2 / 4) and 2 + min(1 * .9, 2 / 4)
    torch.testing.assert_close(
        objective.advantages_at_update(batch, tensor([[0.3, 0.9]])), tensor([[2.3, 2.5]])
    )


def test_lam_rises_over_the_warm_up_and_falls_to_0_after_it():
    def lams(warmup: int, decay: int) -> list[float]:
        return [
            objectives.scheduled_lam(0.5, batch=batch, warmup=warmup, decay=decay)
            for batch in range(8)
        ]

    assert lams(0, 0) == [0.5] * 8
    assert lams(2, 0) == [0.0, 0.25, *[0.5] * 6]
    assert lams(0, 4) == [0.5, 0.375, 0.25, 0.125, 0.0, 0.0, 0.0, 0.0]
    assert lams(2, 4) == [0.0, 0.25, 0.5, 0.375, 0.25, 0.125, 0.0, 0.0]


def test_a_scheduled_lam_is_that_of_the_batchs_number_and_is_measured():
    config = RLRTConfig(credit="rlsd", lam=0.5, eps_w=0.2, lam_decay=60)
    objective = make_objective(config)
    # the teacher finds both tokens twice as probable: w = 2, clipped at 1.2
    student = tensor([[0.0, 0.0]])
    batch = scored(tensor([2.0]), student, student + LN2, tensor([1.0]), torch.ones(1, 2))
    for number, lam in ((0, 0.5), (30, 0.25), (60, 0.0), (61, 0.0)):
        rollouts = replace(batch, batches_before=number)
        # 2 [(1 - lam) + lam 1.2]
        expected = torch.full((1, 2), 2 + 0.4 * lam, dtype=torch.float64)
        torch.testing.assert_close(objective.annotate(rollouts).advantages, expected)
        assert objective.measure(rollouts)["lam"] == pytest.approx(lam)
    assert rollouts.part(torch.tensor([0])).batches_before == 61


def test_a_warm_up_alone_is_taken_from_the_settings_and_measured():
    objective = make_objective(RLRTConfig(credit="rlsd", lam=0.5, lam_warmup=10))
    nothing = torch.zeros(1, 2)
    batch = scored(tensor([2.0]), nothing, nothing, tensor([1.0]), torch.ones(1, 2))
    assert objective.measure(replace(batch, batches_before=5))["lam"] == pytest.approx(0.25)


def test_a_constant_lam_is_not_measured():
    objective = make_objective(RLRTConfig(credit="rlsd"))
    nothing = torch.zeros(1, 2)
    batch = scored(tensor([2.0]), nothing, nothing, tensor([1.0]), torch.ones(1, 2))
    assert "lam" not in objective.measure(batch)


def test_a_token_weighs_less_the_further_the_rollout_has_gone_from_the_teacher():
    ratios = tensor([[1.0, -2.0, 0.0, 1.0, 7.0], [0.0, 0.0, 0.0, 0.0, 0.0]])
    mask = tensor([[1, 1, 1, 1, 0], [1, 1, 1, 1, 1]])
    got = objectives.prefix_weight(ratios, mask, gamma=0.5)
    # before each: 0, 1, 3, 3 of 4; 1 + .5 (1 - 0), .5 (1 - 1/4), .5 (1 - 3/4), .5 (1 - 3/4)
    torch.testing.assert_close(got[0, :4], tensor([1.5, 1.375, 1.125, 1.125]))
    torch.testing.assert_close(got[1], tensor([1.5] * 5))


def test_iw_opds_advantage_is_the_weighted_ratio_whatever_the_reward():
    student, teacher = tensor([[0.0, 0.0, 0.0, 0.0]]), tensor([[1.0, -2.0, 0.0, 1.0]])
    objective = make_objective(RLRTConfig(credit="iw_opd", iw_gamma=2.0))
    mask = tensor([[1, 1, 1, 0]])
    # sizes 1, 2, 0 of 3 in all: weights 3, 1 + 2 (2/3), 1
    expected = tensor([[3.0, -2 * 7 / 3, 0.0, 0.0]])
    for advantage in (0.0, -1.0):
        given = (tensor([advantage]), student, teacher, tensor([0.0]), mask)
        torch.testing.assert_close(annotated(objective, *given), expected)
    # D is -1, 2, 0 at the mask's tokens
    assert objective.measure(scored(*given))["asymmetry"] == (pytest.approx(1 / 3), 3)
    assert objective.learns_from_equal_rewards


ENTROPIES = ((0.0, 1.0, 2.0, 3.0, 4.0, 9.0), (2.0, 2.0, 2.0, 2.0, 2.0, 2.0))
OWN_TOKENS = ((1, 1, 1, 1, 1, 0), (1, 1, 1, 1, 1, 1))


def test_the_pull_to_the_teacher_turns_at_the_rollouts_own_quantile_of_entropy():
    entropies = tensor(ENTROPIES).requires_grad_()
    got = objectives.pull_to_teacher(entropies, tensor(OWN_TOKENS), rho=0.25)
    # the .75 quantile of 0, 1, 2, 3, 4 is 3; the mean of |H - 2| is (2 + 1 + 0 + 1 + 2) / 5
    expected = [math.tanh((3 - h) / 1.2) for h in range(5)]
    torch.testing.assert_close(got[0], tensor([*expected, 0.0]))
    torch.testing.assert_close(got[1], tensor([0.0] * 6))
    assert not got.requires_grad


def test_a_rollout_without_tokens_has_no_direction():
    got = objectives.pull_to_teacher(tensor([[1.0, 2.0]]), tensor([[0, 0]]), rho=0.2)
    assert got.tolist() == [[0.0, 0.0]]


def test_the_teachers_evidence_is_measured_against_the_rollouts_mean():
    asymmetry = tensor([[2.0, -4.0, 0.0, 9.0], [0.0, 0.0, 0.0, 0.0]])
    got = objectives.normalised_gap(asymmetry, tensor([[1, 1, 1, 0], [1, 1, 1, 1]]))
    # the mean of 2, 4, 0 is 2
    torch.testing.assert_close(got, tensor([[-1.0, 2.0, 0.0, 0.0], [0.0] * 4]))
    assert objectives.normalised_gap(tensor([[3.0]]), tensor([[0]])).tolist() == [[0.0]]


def test_the_directed_advantage_trusts_strong_evidence_more():
    def sigmoid(x: float) -> float:
        return 1 / (1 + math.exp(-x))

    pull, gap = tensor([[0.5, -0.5, 0.5]]), tensor([[2.0, 2.0, -0.5]])
    got = objectives.directed_advantage(tensor([[1.0, 1.0, -1.0]]), pull, gap, beta=0.2)
    strong, weak = 0.2 * 0.5 * sigmoid(1) * 2, 0.2 * 0.5 * sigmoid(-0.5) * 0.5
    torch.testing.assert_close(got, tensor([[1 + strong, 1 - strong, -1 - weak]]))


def test_dasd_takes_the_entropy_of_the_update_and_the_teachers_scores():
    objective = make_objective(RLRTConfig(credit="dasd", dasd_beta=0.2, dasd_rho=0.25))
    assert isinstance(objective, Surrogate)
    assert objective.advantages_at_update is not None
    assert objective.learns_from_equal_rewards
    student, teacher = torch.zeros(1, 5, dtype=torch.float64), tensor([[2.0, -2, 2, -2, 2]])
    mask = torch.ones_like(student)
    batch = objective.annotate(scored(tensor([0.5]), student, teacher, tensor([1.0]), mask))
    torch.testing.assert_close(batch.advantages, torch.full_like(student, 0.5))
    got = objective.advantages_at_update(batch, tensor([ENTROPIES[0][:5]]))
    # the mean of |D| is 2, so that dbar = 1, -1, 1, -1, 1 and its sigmoid is 1/2
    pulls = [math.tanh((3 - h) / 1.2) for h in range(5)]
    signs = (1, -1, 1, -1, 1)
    expected = [0.5 + 0.1 * p * s for p, s in zip(pulls, signs, strict=True)]
    torch.testing.assert_close(got, tensor([expected]))
    assert objective.measure(batch)["asymmetry"] == (pytest.approx(-0.4), 5)

"""The methods as objectives: GRPO's surrogate with token advantages, and self-distillation."""

from collections.abc import Callable, Mapping
from functools import partial

from lab_llm.training.objective import Objective, Surrogate
from lab_llm.training.rollouts import Rollouts
from lab_llm.training.self_distillation import SelfDistillation
from lab_llm.training.step_metrics import Mean, mean_over
from lab_llm.training.teacher_weights import distilling_weights, scoring_weights
from torch import Tensor

from lab_rlrt import objectives
from lab_rlrt.config import Method, RLRTConfig
from lab_rlrt.teachers import SCORED, teacher_of

Weight = Callable[[Tensor, Tensor], Tensor]
"""(information asymmetry (B, T), A (B,)) -> weights (B, T)."""


def make_objective(config: RLRTConfig) -> Objective:
    """The objective of `config.credit`."""
    return METHODS[config.credit](config)


def grpo(config: RLRTConfig) -> Objective:
    """The surrogate, every token with its rollout's advantage."""
    return Surrogate(config)


def weighted(weight: Weight) -> Callable[[RLRTConfig], Objective]:
    """A method that weighs tokens by what the teacher predicted."""

    def make(config: RLRTConfig) -> Objective:
        return Surrogate(
            config,
            teacher=teacher_of(config),
            teacher_weights=scoring_weights(config),
            token_advantages=partial(weighted_advantages, weight=weight, config=config),
            measures=partial(weight_measures, weight=weight, config=config),
        )

    return make


def weighted_advantages(rollouts: Rollouts, *, weight: Weight, config: RLRTConfig) -> Tensor:
    """A_t of eq. 4: A times the clipped weight, on the rollouts that the method weighs."""
    advantages = rollouts.rollout_advantages
    weights = weight(asymmetry(rollouts), advantages)
    token_advantages = objectives.interpolated_advantage(
        advantages, weights, lam=lam_of(rollouts, config), eps_w=config.eps_w
    )
    if SCORED[config.credit] == "correct":
        token_advantages = objectives.gate_correct(token_advantages, advantages, rollouts.rewards)
    return token_advantages * rollouts.loss_mask


def weight_measures(
    rollouts: Rollouts, *, weight: Weight, config: RLRTConfig
) -> dict[str, float | Mean]:
    """The mean asymmetry of correct rollouts and the share of clipped weights."""
    advantages, asymmetries = rollouts.rollout_advantages, asymmetry(rollouts)
    mixed = (advantages != 0).float()[:, None] * rollouts.loss_mask
    correct = mixed * (rollouts.rewards == 1.0).float()[:, None]
    weighed = correct if SCORED[config.credit] == "correct" else mixed
    clipped = objectives.clip_fraction(weight(asymmetries, advantages), weighed, eps_w=config.eps_w)
    found: dict[str, float | Mean] = {
        "asymmetry_correct": mean_over(asymmetries, correct),
        "weight_clip_fraction": Mean(clipped.item(), weighed.sum().item()),
    }
    if config.lam_warmup or config.lam_decay:
        found["lam"] = lam_of(rollouts, config)
    return found


def lam_of(rollouts: Rollouts, config: RLRTConfig) -> float:
    """lambda of eq. 4 for these rollouts."""
    return objectives.scheduled_lam(
        config.lam,
        batch=rollouts.batches_before,
        warmup=config.lam_warmup,
        decay=config.lam_decay,
    )


def asymmetry(rollouts: Rollouts) -> Tensor:
    """D_t (B, T), eq. 1, of rollouts that a teacher has scored."""
    student, teacher = rollouts.student_logprobs, rollouts.teacher_logprobs
    assert student is not None
    assert teacher is not None
    return objectives.information_asymmetry(student, teacher)


def entropy_shaped(config: RLRTConfig) -> Objective:
    """The surrogate with a bonus in the advantage where the policy is uncertain."""

    def shape(rollouts: Rollouts, entropies: Tensor) -> Tensor:
        return objectives.entropy_shaped_advantage(
            rollouts.advantages,
            entropies,
            alpha=config.entropy_alpha,
            kappa=config.entropy_kappa,
        )

    return Surrogate(config, shape=shape)


def iw_opd(config: RLRTConfig) -> Objective:
    """The surrogate, its advantage the teacher's log-ratio, more of it early in a rollout."""

    def token_advantages(rollouts: Rollouts) -> Tensor:
        ratio, mask = -asymmetry(rollouts), rollouts.loss_mask
        return ratio * objectives.prefix_weight(ratio, mask, gamma=config.iw_gamma) * mask

    return Surrogate(
        config,
        teacher=teacher_of(config),
        teacher_weights=scoring_weights(config),
        token_advantages=token_advantages,
        measures=mean_asymmetry,
        learns_from_equal_rewards=True,
    )


def dasd(config: RLRTConfig) -> Objective:
    """The surrogate with a term toward the teacher where the policy is certain, away elsewhere."""

    def shape(rollouts: Rollouts, entropies: Tensor) -> Tensor:
        mask = rollouts.loss_mask
        return objectives.directed_advantage(
            rollouts.advantages,
            objectives.pull_to_teacher(entropies, mask, rho=config.dasd_rho),
            objectives.normalised_gap(asymmetry(rollouts), mask),
            beta=config.dasd_beta,
        )

    return Surrogate(
        config,
        teacher=teacher_of(config),
        teacher_weights=scoring_weights(config),
        shape=shape,
        measures=mean_asymmetry,
        learns_from_equal_rewards=True,
    )


def mean_asymmetry(rollouts: Rollouts) -> dict[str, Mean]:
    """The mean of D_t over all tokens: an estimate of KL(P_S || P_T)."""
    return {"asymmetry": mean_over(asymmetry(rollouts), rollouts.loss_mask)}


def sdpo(config: RLRTConfig) -> Objective:
    """The distance to the teacher, in place of the surrogate or mixed with it."""
    teacher = teacher_of(config)
    assert teacher is not None
    return SelfDistillation(
        config.distillation,
        teacher=teacher,
        teacher_weights=distilling_weights(config),
        temperature=config.temperature,
        surrogate=Surrogate(config),
    )


METHODS: Mapping[Method, Callable[[RLRTConfig], Objective]] = {
    "grpo": grpo,
    "rlsd": weighted(objectives.following_weight),
    "following": weighted(objectives.following_weight),
    "rlrt": weighted(objectives.reversed_weight),
    "rlrt_all": weighted(objectives.reversed_weight),
    "entropy_shaped": entropy_shaped,
    "iw_opd": iw_opd,
    "dasd": dasd,
    "sdpo": sdpo,
}

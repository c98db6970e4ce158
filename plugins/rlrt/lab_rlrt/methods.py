"""The methods as objectives: GRPO's surrogate with token advantages, and self-distillation."""

from collections.abc import Callable, Mapping
from functools import partial

from lab_llm.training.objective import Objective, Surrogate
from lab_llm.training.rollouts import Rollouts
from lab_llm.training.self_distillation import self_distillation
from lab_llm.training.step_metrics import Mean, mean_over
from lab_llm.training.teacher_weights import scoring_weights
from torch import Tensor

from lab_rlrt import objectives
from lab_rlrt.config import Method, RLRTConfig
from lab_rlrt.teachers import teacher_of

Weight = Callable[[Tensor, Tensor], Tensor]
"""(information asymmetry (B, T), A (B,)) -> weights (B, T)."""


def make_objective(config: RLRTConfig) -> Objective:
    """The objective of `config.credit`."""
    return METHODS[config.credit](config)


def grpo(config: RLRTConfig) -> Objective:
    """The surrogate, every token with its rollout's advantage."""
    return Surrogate(config)


def weighted(weight: Weight, *, gated: bool) -> Callable[[RLRTConfig], Objective]:
    """A method that weighs tokens by what the teacher predicted; gated, of correct rollouts."""

    def make(config: RLRTConfig) -> Objective:
        method = {"weight": weight, "gated": gated, "config": config}
        return Surrogate(
            config,
            teacher=teacher_of(config),
            teacher_weights=scoring_weights(config),
            token_advantages=partial(weighted_advantages, **method),
            measures=partial(weight_measures, **method),
        )

    return make


def weighted_advantages(
    rollouts: Rollouts, *, weight: Weight, gated: bool, config: RLRTConfig
) -> Tensor:
    """A_t of eq. 4, 0 outside the loss mask."""
    advantages = rollouts.rollout_advantages
    token_advantages = objectives.weighted_advantage(
        advantages,
        weight(asymmetry(rollouts), advantages),
        rollouts.rewards,
        lam=lam_of(rollouts, config),
        eps_w=config.eps_w,
        gated=gated,
    )
    return token_advantages * rollouts.loss_mask


def weight_measures(
    rollouts: Rollouts, *, weight: Weight, gated: bool, config: RLRTConfig
) -> dict[str, float | Mean]:
    """The mean asymmetry of correct rollouts and the share of clipped weights."""
    advantages, asymmetries = rollouts.rollout_advantages, asymmetry(rollouts)
    mixed = (advantages != 0).float()[:, None] * rollouts.loss_mask
    correct = mixed * (rollouts.rewards == 1.0).float()[:, None]
    weighed = correct if gated else mixed
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

    def at_update(rollouts: Rollouts, entropies: Tensor) -> Tensor:
        return objectives.entropy_shaped_advantage(
            rollouts.advantages,
            entropies,
            alpha=config.entropy_alpha,
            kappa=config.entropy_kappa,
        )

    return Surrogate(config, advantages_at_update=at_update)


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

    def at_update(rollouts: Rollouts, entropies: Tensor) -> Tensor:
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
        advantages_at_update=at_update,
        measures=mean_asymmetry,
        learns_from_equal_rewards=True,
    )


def mean_asymmetry(rollouts: Rollouts) -> dict[str, Mean]:
    """The mean of D_t over all tokens: an estimate of KL(P_S || P_T)."""
    return {"asymmetry": mean_over(asymmetry(rollouts), rollouts.loss_mask)}


METHODS: Mapping[Method, Callable[[RLRTConfig], Objective]] = {
    "grpo": grpo,
    "rlsd": weighted(objectives.following_weight, gated=False),
    "following": weighted(objectives.following_weight, gated=True),
    "rlrt": weighted(objectives.reversed_weight, gated=True),
    "rlrt_all": weighted(objectives.reversed_weight, gated=False),
    "entropy_shaped": entropy_shaped,
    "iw_opd": iw_opd,
    "dasd": dasd,
    "sdpo": self_distillation,
}

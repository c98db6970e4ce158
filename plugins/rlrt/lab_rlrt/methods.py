"""The methods as objectives: GRPO's surrogate with token weights or a bonus, and SDPO."""

from collections.abc import Callable, Mapping
from functools import partial

from lab_llm.training.objective import Objective, Surrogate
from lab_llm.training.rollouts import Rollouts
from lab_llm.training.self_distillation import SelfDistillation
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
            token_advantages=partial(weighted_advantages, weight=weight, config=config),
            measures=partial(weight_measures, weight=weight, config=config),
        )

    return make


def weighted_advantages(rollouts: Rollouts, *, weight: Weight, config: RLRTConfig) -> Tensor:
    """A_t of eq. 4: A times the clipped weight, on the rollouts that the method weighs."""
    advantages = rollouts.rollout_advantages
    weights = weight(asymmetry(rollouts), advantages)
    token_advantages = objectives.interpolated_advantage(
        advantages, weights, lam=config.lam, eps_w=config.eps_w
    )
    if SCORED[config.credit] == "correct":
        token_advantages = objectives.gate_correct(token_advantages, advantages, rollouts.rewards)
    return token_advantages * rollouts.loss_mask


def weight_measures(rollouts: Rollouts, *, weight: Weight, config: RLRTConfig) -> dict[str, float]:
    """The mean asymmetry of correct rollouts and the share of clipped weights."""
    advantages, asymmetries = rollouts.rollout_advantages, asymmetry(rollouts)
    mixed = (advantages != 0).float()[:, None] * rollouts.loss_mask
    correct = mixed * (rollouts.rewards == 1.0).float()[:, None]
    share = objectives.clip_fraction(
        weight(asymmetries, advantages),
        correct if SCORED[config.credit] == "correct" else mixed,
        eps_w=config.eps_w,
    )
    mean = (asymmetries * correct).sum() / correct.sum().clamp(min=1.0)
    return {"asymmetry_correct": mean.item(), "weight_clip_fraction": share.item()}


def asymmetry(rollouts: Rollouts) -> Tensor:
    """D_t (B, T), eq. 1, of rollouts that a teacher has scored."""
    student, teacher = rollouts.student_logprobs, rollouts.teacher_logprobs
    assert student is not None
    assert teacher is not None
    return objectives.information_asymmetry(student, teacher)


def entropy_shaped(config: RLRTConfig) -> Objective:
    """The surrogate with a bonus in the advantage where the policy is uncertain."""
    shape = partial(
        objectives.entropy_shaped_advantage,
        alpha=config.entropy_alpha,
        kappa=config.entropy_kappa,
    )
    return Surrogate(config, shape=shape)


def sdpo(config: RLRTConfig) -> Objective:
    """The distance to the teacher, in place of the surrogate."""
    teacher = teacher_of(config)
    assert teacher is not None
    return SelfDistillation(config.distillation, teacher=teacher, temperature=config.temperature)


METHODS: Mapping[Method, Callable[[RLRTConfig], Objective]] = {
    "grpo": grpo,
    "rlsd": weighted(objectives.following_weight),
    "following": weighted(objectives.following_weight),
    "rlrt": weighted(objectives.reversed_weight),
    "rlrt_all": weighted(objectives.reversed_weight),
    "entropy_shaped": entropy_shaped,
    "sdpo": sdpo,
}

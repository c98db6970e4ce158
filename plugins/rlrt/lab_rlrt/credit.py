"""The methods: which weight, on which rollouts, from which teacher."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from lab_llm.text.prompts import teacher_template
from lab_llm.training.credit import Credit, Scored
from torch import Tensor

from lab_rlrt import objectives
from lab_rlrt.config import Method, RLRTConfig

Weight = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Rule:
    """A method's token weight (None: 1) and the rollouts that have it."""

    weight: Weight | None
    scored: Scored


RULES: Mapping[Method, Rule] = {
    "grpo": Rule(None, "none"),
    "rlsd": Rule(objectives.following_weight, "all"),
    "following": Rule(objectives.following_weight, "correct"),
    "rlrt": Rule(objectives.reversed_weight, "correct"),
    "rlrt_all": Rule(objectives.reversed_weight, "all"),
    "entropy_shaped": Rule(None, "none"),
    "sdpo": Rule(None, "none"),
}


def make_credit(config: RLRTConfig) -> Credit:
    """The credit of `config.credit`."""
    rule = RULES[config.credit]

    def weigh(
        advantages: Tensor,
        student_logprobs: Tensor,
        teacher_logprobs: Tensor,
        rewards: Tensor,
        mask: Tensor,
    ) -> Tensor:
        if rule.weight is None:
            return advantages[:, None] * mask
        asymmetry = objectives.information_asymmetry(student_logprobs, teacher_logprobs)
        weight = rule.weight(asymmetry, advantages)
        weighted = objectives.interpolated_advantage(
            advantages, weight, lam=config.lam, eps_w=config.eps_w
        )
        if rule.scored == "correct":
            weighted = objectives.gate_correct(weighted, advantages, rewards)
        return weighted * mask

    def measure(
        advantages: Tensor,
        student_logprobs: Tensor,
        teacher_logprobs: Tensor,
        rewards: Tensor,
        mask: Tensor,
    ) -> dict[str, float]:
        if rule.weight is None:
            return {}
        asymmetry = objectives.information_asymmetry(student_logprobs, teacher_logprobs)
        mixed = (advantages != 0).float()[:, None] * mask
        correct = mixed * (rewards == 1.0).float()[:, None]
        weighted = correct if rule.scored == "correct" else mixed
        share = objectives.clip_fraction(
            rule.weight(asymmetry, advantages), weighted, eps_w=config.eps_w
        )
        mean = (asymmetry * correct).sum() / correct.sum().clamp(min=1.0)
        return {"asymmetry_correct": mean.item(), "weight_clip_fraction": share.item()}

    def shape(advantages: Tensor, entropies: Tensor) -> Tensor:
        return objectives.entropy_shaped_advantage(
            advantages, entropies, alpha=config.entropy_alpha, kappa=config.entropy_kappa
        )

    return Credit(
        weigh=weigh,
        measure=measure,
        scored=rule.scored,
        context=config.teacher_context,
        template=teacher_template(config.teacher_template, model=config.model.name),
        shape=shape if config.credit == "entropy_shaped" else None,
        distillation=config.distillation if config.credit == "sdpo" else None,
    )

"""RLRT and its relatives as one trainer; data and evaluators are the toolkit's."""

from labrun import Component, PluginInfo, hookimpl


@hookimpl
def lab_plugin() -> PluginInfo:
    return PluginInfo(
        name="rlrt",
        summary="RLVR with a reversed teacher (arXiv 2605.10781), GRPO, RLSD and ablations",
        components=(
            Component(
                kind="trainer",
                name="rlrt",
                config="lab_rlrt.config:RLRTConfig",
                factory="lab_rlrt.trainer:RLRTTrainer",
                summary="GRPO with token-level credit from a teacher",
            ),
            Component(
                kind="evaluator",
                name="asymmetry",
                config="lab_rlrt.analysis.config:AsymmetryConfig",
                factory="lab_rlrt.analysis.asymmetry.evaluator:AsymmetryEvaluator",
                summary="information asymmetry along rollouts, as scores, page and figure",
            ),
            Component(
                kind="evaluator",
                name="reflection",
                config="lab_rlrt.analysis.config:ReflectionConfig",
                factory="lab_rlrt.analysis.reflection.evaluator:ReflectionEvaluator",
                summary="flip rates after a reflective phrase at the position of largest KL",
            ),
            Component(
                kind="evaluator",
                name="promotion",
                config="lab_rlrt.analysis.config:PromotionConfig",
                factory="lab_rlrt.analysis.promotion.evaluator:PromotionEvaluator",
                summary="improbable tokens of the base model that come first after training",
            ),
            Component(
                kind="evaluator",
                name="curves",
                config="lab_rlrt.analysis.config:CurvesConfig",
                factory="lab_rlrt.analysis.curves.evaluator:CurvesEvaluator",
                summary="entropy, length, reward and scores over steps; the check for a collapse",
            ),
        ),
        defaults={"trainer": "rlrt", "dataset": "llm.countdown", "evaluator": "llm.accuracy"},
        presets=("lab_rlrt.conf", "lab_llm.conf", "lab_llm.grpo_conf"),
        groups={"method": "rlrt", "scale": "tiny"},
        headline=(
            "reward",
            "in_domain/accuracy",
            "ood_large/accuracy",
            "ood_four/accuracy",
            "in_domain/epistemic_words",
            "completion_length",
        ),
    )

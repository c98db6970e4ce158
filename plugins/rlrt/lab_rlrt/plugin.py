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

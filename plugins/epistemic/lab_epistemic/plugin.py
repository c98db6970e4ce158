"""The four studies of epistemic verbalization; data and GRPO are the toolkit's."""

from labrun import Component, PluginInfo, hookimpl


@hookimpl
def lab_plugin() -> PluginInfo:
    return PluginInfo(
        name="epistemic",
        summary="self-distillation and the words of uncertainty (arXiv 2603.24472), four studies",
        components=(
            Component(
                kind="trainer",
                name="onpolicy",
                config="lab_epistemic.config:EpistemicConfig",
                factory="lab_epistemic.trainer:EpistemicTrainer",
                summary="SDPO, or GRPO, on the student's own rollouts",
            ),
            Component(
                kind="trainer",
                name="sft",
                config="lab_epistemic.sft.config:SelfSFTConfig",
                factory="lab_epistemic.sft.trainer:SelfSFTTrainer",
                summary="fine-tuning on correct responses, given with or without guidance",
            ),
            Component(
                kind="evaluator",
                name="verbalization",
                config="lab_epistemic.verbalization.config:VerbalizationConfig",
                factory="lab_epistemic.verbalization.evaluator:VerbalizationEvaluator",
                summary="words of uncertainty beside accuracy and length, word by word",
                samples="lab_epistemic.verbalization.samples:samples_of",
            ),
            Component(
                kind="evaluator",
                name="richness",
                config="lab_epistemic.richness.config:RichnessConfig",
                factory="lab_epistemic.richness.evaluator:RichnessEvaluator",
                summary="accuracy, length and words under contexts from none to a full solution",
            ),
        ),
        defaults={"trainer": "onpolicy", "dataset": "llm.countdown", "evaluator": "verbalization"},
        presets=("lab_epistemic.conf", "lab_llm.conf", "lab_llm.grpo_conf"),
        groups={"method": "sdpo", "scale": "tiny", "study": "main"},
        headline=(
            "in_domain/accuracy",
            "ood_large/accuracy",
            "ood_four/accuracy",
            "in_domain/epistemic_words",
            "in_domain/completion_length",
            "reward",
        ),
        figures=("lab_epistemic.figures:draw",),
    )

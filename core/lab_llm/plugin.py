"""The toolkit as a plugin: datasets and evaluators for every language model, and the warm start."""

from labrun import Component, PluginInfo, hookimpl


@hookimpl
def lab_plugin() -> PluginInfo:
    return PluginInfo(
        name="llm",
        summary="language-model datasets and evaluators; trains the tiny start model",
        components=(
            Component(
                kind="trainer",
                name="warmstart",
                config="lab_llm.training.warm_start.config:WarmStartConfig",
                factory="lab_llm.warm_start:WarmStart",
                summary="supervised training of the tiny model from nothing",
            ),
            Component(
                kind="trainer",
                name="grpo",
                config="lab_llm.training.config:GRPOSettings",
                factory="lab_llm.method:GRPOTrainer",
                summary="GRPO, the baseline of every method on this trainer",
            ),
            Component(
                kind="dataset",
                name="countdown",
                config="lab_llm.datasets.countdown_config:CountdownConfig",
                factory="lab_llm.datasets.countdown:CountdownDataset",
                summary="reach a number by adding and subtracting, with two OOD families",
            ),
            Component(
                kind="dataset",
                name="rows",
                config="lab_llm.datasets.config:RowsConfig",
                factory="lab_llm.datasets.components:RowsDataset",
                summary="problems from JSONL or Parquet, answers checked by math-verify",
            ),
            Component(
                kind="dataset",
                name="reasoning_gym",
                config="lab_llm.datasets.config:ReasoningGymConfig",
                factory="lab_llm.datasets.components:ReasoningGymDataset",
                summary="any task of reasoning-gym",
            ),
            Component(
                kind="evaluator",
                name="accuracy",
                config="lab_llm.evaluation.config:AccuracyConfig",
                factory="lab_llm.evaluation.accuracy:AccuracyEvaluator",
                summary="avg@k, pass@k, length and epistemic words of sampled completions",
                samples="lab_llm.evaluation.completion_files:samples_of",
            ),
        ),
        defaults={"trainer": "warmstart", "dataset": "countdown", "evaluator": "accuracy"},
        presets=("lab_llm.conf",),
        headline=("train/loss", "in_domain/accuracy"),
    )

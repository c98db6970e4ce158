"""The toolkit as a plugin: offline data, evaluation by rollout, and behaviour cloning."""

from labrun import Component, PluginInfo, hookimpl


@hookimpl
def lab_plugin() -> PluginInfo:
    return PluginInfo(
        name="marl",
        summary="offline multi-agent data, rollouts and behaviour cloning, for every such method",
        components=(
            Component(
                kind="trainer",
                name="bc",
                config="lab_marl.cloning.config:BCConfig",
                factory="lab_marl.cloning.method:bc",
                summary="behaviour cloning: BC-t, or BC-r with the return to go",
            ),
            Component(
                kind="dataset",
                name="offline",
                config="lab_marl.datasets.config:OfflineDataConfig",
                factory="lab_marl.datasets.offline:OfflineDataset",
                summary="episodes of several tasks, from files or made by cheap policies",
                shows="lab_marl.datasets.showing:show",
                converts="lab_marl.datasets.converting:convert",
                records="lab_marl.training.recording:record",
            ),
            Component(
                kind="evaluator",
                name="rollout",
                config="lab_marl.evaluation.config:RolloutConfig",
                factory="lab_marl.evaluation.rollouts:RolloutEvaluator",
                summary="win rate and return on every test task, seen and unseen",
            ),
        ),
        defaults={"trainer": "bc", "dataset": "offline", "evaluator": "rollout"},
        presets=("lab_marl.conf",),
        groups={"method": "bc_t", "scale": "tiny"},
        headline=("seen/win_rate", "unseen/win_rate", "loss"),
    )

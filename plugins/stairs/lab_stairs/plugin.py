"""STAIRS-Former and its baselines: trainers, offline data and evaluation by rollout."""

from labrun import Component, PluginInfo, hookimpl


def _trainer(name: str, config: str, factory: str, summary: str) -> Component:
    return Component(
        kind="trainer",
        name=name,
        config=f"lab_stairs.{config}",
        factory=f"lab_stairs.{factory}",
        summary=summary,
    )


@hookimpl
def lab_plugin() -> PluginInfo:
    return PluginInfo(
        name="stairs",
        summary="offline multi-task multi-agent RL: STAIRS-Former (arXiv 2603.11691), baselines",
        components=(
            _trainer(
                "stairs",
                "config:StairsConfig",
                "trainer:StairsTrainer",
                "transformer with spatial and temporal hierarchies; TD and behaviour cloning",
            ),
            _trainer(
                "bc",
                "baselines.config:BCConfig",
                "baselines.trainers:BCTrainer",
                "behaviour cloning: BC-t, or BC-r with the return to go",
            ),
            _trainer(
                "updet",
                "baselines.config:UPDeTConfig",
                "baselines.trainers:UPDeTTrainer",
                "UPDeT with a conservative term; values summed or mixed",
            ),
            _trainer(
                "odis",
                "baselines.config:ODISConfig",
                "baselines.trainers:ODISTrainer",
                "skill discovery, then a policy over skills",
            ),
            _trainer(
                "hissd",
                "baselines.config:HiSSDConfig",
                "baselines.trainers:HiSSDTrainer",
                "common skills from a planner, task-specific ones by contrast",
            ),
            _trainer(
                "td3_bc",
                "td3bc_config:TD3BCConfig",
                "td3bc_trainer:TD3BCTrainer",
                "an actor head and TD3+BC, for continuous tasks",
            ),
            Component(
                kind="dataset",
                name="offline",
                config="lab_stairs.dataset_config:OfflineDataConfig",
                factory="lab_stairs.dataset:OfflineDataset",
                summary="episodes of several tasks, from files or made by cheap policies",
            ),
            Component(
                kind="evaluator",
                name="rollout",
                config="lab_stairs.evaluator_config:RolloutConfig",
                factory="lab_stairs.evaluator:RolloutEvaluator",
                summary="win rate and return on every test task, seen and unseen",
            ),
        ),
        defaults={"trainer": "stairs", "dataset": "offline", "evaluator": "rollout"},
        presets=("lab_stairs.conf",),
        groups={"method": "stairs", "scale": "tiny"},
        headline=("seen/win_rate", "unseen/win_rate", "loss"),
    )

"""STAIRS-Former and its baselines; data, evaluation and cloning are the toolkit's."""

from labrun import Component, PluginInfo, hookimpl


def _trainer(name: str, config: str, summary: str) -> Component:
    return Component(
        kind="trainer",
        name=name,
        config=f"lab_stairs.{config}",
        factory=f"lab_stairs.methods:{name}",
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
                "transformer with spatial and temporal hierarchies; TD and behaviour cloning",
            ),
            _trainer(
                "updet",
                "baselines.config:UPDeTConfig",
                "UPDeT with a conservative term; values summed or mixed",
            ),
            _trainer(
                "odis",
                "baselines.config:ODISConfig",
                "skill discovery, then a policy over skills",
            ),
            _trainer(
                "hissd",
                "baselines.config:HiSSDConfig",
                "common skills from a planner, task-specific ones by contrast",
            ),
            _trainer(
                "td3_bc",
                "td3_bc.config:TD3BCConfig",
                "an actor head and TD3+BC, for continuous tasks",
            ),
        ),
        defaults={"trainer": "stairs", "dataset": "marl.offline", "evaluator": "marl.rollout"},
        presets=("lab_stairs.conf", "lab_marl.conf"),
        groups={"method": "stairs", "scale": "tiny"},
        headline=("seen/win_rate", "unseen/win_rate", "loss"),
        moved={"bc": "marl.bc", "offline": "marl.offline", "rollout": "marl.rollout"},
    )

"""The plugin's description."""

from labrun import Component, PluginInfo, hookimpl


@hookimpl
def lab_plugin() -> PluginInfo:
    return PluginInfo(
        name="example",
        summary="linear regression by SGD, plain or with momentum",
        components=(
            Component(
                kind="trainer",
                name="sgd",
                config="example_plugin.config:SGDConfig",
                factory="example_plugin.components:SGDTrainer",
                summary="minibatch SGD on the mean squared error",
            ),
            Component(
                kind="dataset",
                name="line",
                config="example_plugin.config:LineConfig",
                factory="example_plugin.components:LineDataset",
                summary="noisy points of a line",
            ),
            Component(
                kind="evaluator",
                name="mse",
                config="example_plugin.config:ErrorConfig",
                factory="example_plugin.components:SquaredErrorEvaluator",
                summary="squared error on the held-out points",
            ),
            Component(
                kind="evaluator",
                name="mae",
                config="example_plugin.config:ErrorConfig",
                factory="example_plugin.components:AbsoluteErrorEvaluator",
                summary="absolute error on the held-out points",
            ),
        ),
        defaults={"trainer": "sgd", "dataset": "line", "evaluator": "mse"},
        presets=("example_plugin.conf",),
        groups={"method": "plain", "scale": "short"},
        headline=("loss", "held_out/mse"),
    )

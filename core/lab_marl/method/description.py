"""The description of a plugin whose method is offline multi-agent RL."""

import functools
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from labrun import Component, LabError, PluginInfo
from labrun.plugins.method_presets import method_presets

from lab_marl.method.config import LossSettings
from lab_marl.training.config import OfflineSettings

if TYPE_CHECKING:
    from lab_marl.training.trainer import OfflineTrainer

BASELINES = ("bc", "bc_t", "bc_r")
"""The toolkit's trainer, and the presets that take it."""


def offline_plugin(
    name: str,
    *,
    summary: str,
    loss: str = "",
    learner: str = "",
    config: type[OfflineSettings] = LossSettings,
    presets: Mapping[str, Mapping[str, Any]] | None = None,
) -> PluginInfo:
    """The description of a plugin whose method is trained on the toolkit's offline data.

    `loss` names a function `module:function`. It takes a batch's `Transitions` and the trainer's
    settings, an instance of `config`, and returns one number. The toolkit trains BC-t's network by
    it. Instead, `learner` names a class `module:class` with networks of its own, a `Learner`
    (`lab_marl.training.learner`), called as (layouts of the training tasks, config, device=).
    Either is imported when a run is planned or trained. `presets` are variants of the method: name
    -> the trainer's settings that differ from their defaults. The plugin has `method=NAME`, its
    own, `method=bc_t`, `method=bc_r`, `scale` and the toolkit's datasets without naming them.
    """
    if bool(loss) == bool(learner):
        raise LabError(f"offline_plugin({name!r}) takes either loss= or learner=; name one")
    if loss and not issubclass(config, LossSettings):
        raise LabError(
            f"offline_plugin({name!r}): config={config.__name__} has no network for a loss; "
            "derive it from lab_marl.method.LossSettings"
        )
    methods: dict[str, Any] = {name: {}, **method_presets(name, presets)}
    if hidden := sorted({*methods} & {*BASELINES}):
        raise LabError(f"a method named {hidden[0]!r} would hide the baseline; rename it")
    trainer = Component(
        kind="trainer",
        name=name,
        config=f"{config.__module__}:{config.__qualname__}",
        factory=_factory(name, loss=loss, learner=learner),
        summary=summary,
    )
    return PluginInfo(
        name=name,
        summary=summary,
        components=(trainer,),
        defaults={"trainer": name, "dataset": "marl.offline", "evaluator": "marl.rollout"},
        presets=("lab_marl.conf",),
        presets_in_python={"method": methods},
        groups={"method": name, "scale": "tiny"},
        headline=("seen/win_rate", "unseen/win_rate", "loss"),
    )


def _factory(name: str, *, loss: str, learner: str) -> str:
    """The reference of the plugin's trainer: a reference names an attribute of a module."""
    attribute = f"trainer_of_{name}".replace("-", "_")
    setattr(sys.modules[__name__], attribute, functools.partial(_made, loss=loss, learner=learner))
    return f"{__name__}:{attribute}"


def _made(config: OfflineSettings, *, loss: str, learner: str) -> "OfflineTrainer":
    from lab_marl.method.trainer import LossTrainer
    from lab_marl.training.trainer import OfflineMethod

    if loss:
        assert isinstance(config, LossSettings)
        return LossTrainer(config, loss=loss)
    return OfflineMethod(learner)(config)

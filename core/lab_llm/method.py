"""A method of GRPO's kind in one call: its settings and the advantages of its tokens."""

import functools
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from labrun import Component, LabError, Plan, PluginInfo, Setup, TrainResult
from labrun.plugins.building import function
from labrun.plugins.method_presets import method_presets

from lab_llm.problems import ProblemSets
from lab_llm.training.config import GRPOSettings

if TYPE_CHECKING:
    from labrun.runs.context import RunContext
    from torch import Tensor

    from lab_llm.training.objective import Objective
    from lab_llm.training.rollouts import Rollouts

__all__ = ["GRPOSettings", "grpo_plugin", "rollouts_of"]

GRPO = {"defaults": [{"override /trainer": "llm.grpo"}]}
"""The preset of the baseline."""


def grpo_plugin(
    name: str,
    *,
    summary: str,
    advantages: str,
    config: type[GRPOSettings] = GRPOSettings,
    presets: Mapping[str, Mapping[str, Any]] | None = None,
) -> PluginInfo:
    """The description of a plugin whose method is GRPO with other token advantages.

    `advantages` names a function `module:function`. It takes the batch's `Rollouts` and the
    trainer's settings, an instance of `config`, and returns A_t of each token (B, T), 0 outside the
    loss mask. It is imported when a run is planned. `presets` are variants of the method: name ->
    the trainer's settings that differ from their defaults. The plugin has `method=NAME`, its own,
    `method=grpo`, `scale`, `model` and the toolkit's datasets without naming them.
    """
    variants = method_presets(name, presets)
    if "grpo" in {name, *variants}:
        raise LabError("a method named 'grpo' would hide the baseline method=grpo; rename it")
    methods = {"grpo": GRPO, name: {}, **variants}
    trainer = Component(
        kind="trainer",
        name=name,
        config=f"{config.__module__}:{config.__qualname__}",
        factory=_factory(name, advantages),
        summary=summary,
    )
    return PluginInfo(
        name=name,
        summary=summary,
        components=(trainer,),
        defaults={"trainer": name, "dataset": "llm.countdown", "evaluator": "llm.accuracy"},
        presets=("lab_llm.conf", "lab_llm.grpo_conf"),
        presets_in_python={"method": methods},
        groups={"method": name, "scale": "tiny"},
        headline=("reward", "in_domain/accuracy", "completion_length"),
    )


def _factory(name: str, advantages: str) -> str:
    """The reference of the plugin's trainer: a reference names an attribute of a module."""
    attribute = f"trainer_of_{name}".replace("-", "_")
    factory = functools.partial(AdvantageTrainer, advantages=advantages)
    setattr(sys.modules[__name__], attribute, factory)
    return f"{__name__}:{attribute}"


class GRPOTrainer:
    """Trains one policy by GRPO, in as many processes as the run has."""

    def __init__(self, config: GRPOSettings) -> None:
        self.config = config

    def plan(self, setup: Setup) -> Plan:
        from lab_llm.planning import grpo

        return grpo.plan(setup, self.config)

    def fit(self, ctx: "RunContext", data: ProblemSets) -> TrainResult:
        from lab_llm.training import run

        return run.train(ctx, data, self.config, self.objective())

    def objective(self) -> "Objective":
        """GRPO's surrogate, every token with its rollout's advantage."""
        from lab_llm.training.objective import Surrogate

        return Surrogate(self.config)


class AdvantageTrainer(GRPOTrainer):
    """Trains one policy by GRPO's surrogate with the token advantages of a function."""

    def __init__(self, config: GRPOSettings, *, advantages: str) -> None:
        super().__init__(config)
        self.advantages = advantages

    def plan(self, setup: Setup) -> Plan:
        self._function()
        return super().plan(setup)

    def objective(self) -> "Objective":
        """GRPO's surrogate with the method's token advantages."""
        from lab_llm.training.objective import Surrogate

        token_advantages = functools.partial(self._function(), config=self.config)
        return Surrogate(self.config, token_advantages=token_advantages)

    def _function(self) -> Callable[..., "Tensor"]:
        return function(self.advantages, "rollouts", config="config")


def rollouts_of(*, advantages: Sequence[float], mask: Sequence[Sequence[float]]) -> "Rollouts":
    """B rollouts without a prompt, for the test of a method's token advantages.

    `advantages` are A of each rollout (B), `mask` is the loss mask (B, T); the rewards are A too.
    """
    import torch

    from lab_llm.training.rollouts import Rollouts

    rewards, loss_mask = torch.tensor(advantages), torch.tensor(mask)
    return Rollouts(
        ids=torch.zeros_like(loss_mask, dtype=torch.long),
        attention_mask=loss_mask.long(),
        loss_mask=loss_mask,
        rewards=rewards,
        rollout_advantages=rewards,
        advantages=rewards[:, None] * loss_mask,
        num_tokens=loss_mask.sum(),
    )

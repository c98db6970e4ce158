"""The trainer component: the toolkit's trainer with the objective of this plugin's method."""

from dataclasses import replace
from typing import TYPE_CHECKING

from lab_llm.planning import grpo as grpo_plan
from lab_llm.problems import ProblemSets
from lab_llm.training import run as grpo_run
from labrun import Plan, Setup, TrainResult

from lab_rlrt.config import READERS, RLRTConfig
from lab_rlrt.teachers import DISTILLED, teacher_of

if TYPE_CHECKING:
    from labrun.runs.context import RunContext


class RLRTTrainer:
    """Trains one policy by `config.credit`, in as many processes as the run has."""

    def __init__(self, config: RLRTConfig) -> None:
        self.config = config

    def plan(self, setup: Setup) -> Plan:
        config, teacher = self.config, teacher_of(self.config)
        method = f"trainer.credit={config.credit}"
        plan = grpo_plan.plan(
            setup,
            config,
            context=None if teacher is None else teacher.context,
            distillation=config.distillation if config.credit in DISTILLED else None,
            method=method,
        )
        others = [key for key, readers in READERS.items() if config.credit not in readers]
        return replace(plan, unused={**plan.unused, **dict.fromkeys(others, method)})

    def fit(self, ctx: "RunContext", data: ProblemSets) -> TrainResult:
        from lab_rlrt.methods import make_objective

        return grpo_run.train(ctx, data, self.config, make_objective(self.config))

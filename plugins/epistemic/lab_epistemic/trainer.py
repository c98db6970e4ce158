"""The trainer component: SDPO, or GRPO, on the toolkit."""

from typing import TYPE_CHECKING

from lab_llm.planning import grpo as grpo_plan
from lab_llm.problems import ProblemSets, problem_sets
from lab_llm.training import run as grpo_run
from lab_llm.training.distillation_config import DistillationConfig
from labrun import Plan, Setup, TrainResult

from lab_epistemic.config import EpistemicConfig

if TYPE_CHECKING:
    from lab_llm.training.objective import Objective
    from labrun.runs.context import RunContext


class EpistemicTrainer:
    """Trains one policy by `config.objective`, in as many processes as the run has."""

    def __init__(self, config: EpistemicConfig) -> None:
        self.config = config

    def plan(self, setup: Setup) -> Plan:
        config = self.config
        distillation = distillation_of(config)
        context = None if distillation is None else config.teacher_context
        plan = grpo_plan.plan(
            setup,
            config,
            context=context,
            distillation=distillation,
            method=f"trainer.objective={config.objective}",
        )
        sets = problem_sets(setup, key="trainer")
        if context == "reference_solution" and sets is not None:
            key = "trainer.teacher_context=reference_solution"
            grpo_plan.check_solutions(sets.train, key=key)
        return plan

    def fit(self, ctx: "RunContext", data: ProblemSets) -> TrainResult:
        config = self.config
        return grpo_run.train(ctx, data, config, make_objective(config), words=config.words)


def distillation_of(config: EpistemicConfig) -> DistillationConfig | None:
    """SDPO's settings, where that is the objective."""
    return config.distillation if config.objective == "sdpo" else None


def make_objective(config: EpistemicConfig) -> "Objective":
    """The distance to a teacher, or GRPO's surrogate."""
    from lab_llm.training.objective import Surrogate
    from lab_llm.training.self_distillation import self_distillation

    return Surrogate(config) if config.objective == "grpo" else self_distillation(config)

"""The trainer component: the toolkit's trainer with the objective of this plugin's method."""

from typing import TYPE_CHECKING

from lab_llm.planning import teacher as teacher_preflight
from lab_llm.problems import ProblemSets
from lab_llm.training import run as grpo_run
from lab_llm.training.microbatches import check_rollouts
from labrun import Dataset, TrainResult

from lab_rlrt.config import RLRTConfig
from lab_rlrt.teachers import DISTILLED, teacher_of, template_of

if TYPE_CHECKING:
    from labrun.runs.context import RunContext


class RLRTTrainer:
    """Trains one policy by `config.credit`, in as many processes as the run has."""

    max_processes = None

    def __init__(self, config: RLRTConfig) -> None:
        self.config = config

    def preflight(self, dataset: Dataset) -> dict[str, object]:
        config, teacher = self.config, teacher_of(self.config)
        return teacher_preflight.preflight(
            config,
            dataset,
            template=template_of(config),
            context=None if teacher is None else teacher.context,
            distillation=config.distillation if config.credit in DISTILLED else None,
        )

    def check_processes(self, num_processes: int) -> None:
        check_rollouts(self.config, num_processes)

    def fit(self, ctx: "RunContext", data: ProblemSets) -> TrainResult:
        from lab_rlrt.methods import make_objective

        objective = make_objective(self.config)
        return grpo_run.train(ctx, data, self.config, objective, template=template_of(self.config))

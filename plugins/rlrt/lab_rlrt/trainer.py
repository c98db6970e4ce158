"""The trainer component: GRPO on the toolkit with this plugin's credit."""

from typing import TYPE_CHECKING

from lab_llm import grpo_run
from lab_llm.problems import ProblemSets
from lab_llm.templates import check_template, teacher_template
from labrun import Dataset, LabError, TrainResult

from lab_rlrt.config import RLRTConfig

if TYPE_CHECKING:
    from labrun.context import RunContext


class RLRTTrainer:
    """Trains one policy by `config.credit`, in one process."""

    max_gpus = 1

    def __init__(self, config: RLRTConfig) -> None:
        self.config = config

    def preflight(self, dataset: Dataset) -> dict[str, object]:
        try:
            check_template(
                teacher_template(self.config.teacher_template, model=self.config.model.name)
            )
        except LabError as error:
            raise LabError(f"trainer.teacher_template: {error}") from error
        del dataset  # every dataset of problems will do
        return grpo_run.preflight(self.config)

    def fit(self, ctx: "RunContext", data: ProblemSets) -> TrainResult:
        from lab_rlrt.credit import make_credit

        return grpo_run.train(ctx, data, self.config, make_credit(self.config))

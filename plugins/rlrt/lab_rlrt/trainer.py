"""The trainer component: GRPO on the toolkit with this plugin's credit."""

from typing import TYPE_CHECKING

from lab_llm.planning import teacher as teacher_preflight
from lab_llm.problems import ProblemSets
from lab_llm.text.prompts import teacher_template
from lab_llm.training import run as grpo_run
from lab_llm.training.microbatches import check_rollouts
from labrun import Dataset, TrainResult

from lab_rlrt.config import RLRTConfig

if TYPE_CHECKING:
    from labrun.runs.context import RunContext

UNTAUGHT = ("grpo", "entropy_shaped")
"""Credits without a teacher, whose contexts need not fit."""


class RLRTTrainer:
    """Trains one policy by `config.credit`, in as many processes as the run has."""

    max_processes = None

    def __init__(self, config: RLRTConfig) -> None:
        self.config = config

    def preflight(self, dataset: Dataset) -> dict[str, object]:
        config = self.config
        return teacher_preflight.preflight(
            config,
            dataset,
            template=teacher_template(config.teacher_template, model=config.model.name),
            context=None if config.credit in UNTAUGHT else config.teacher_context,
            distillation=config.distillation if config.credit == "sdpo" else None,
        )

    def check_processes(self, num_processes: int) -> None:
        check_rollouts(self.config, num_processes)

    def fit(self, ctx: "RunContext", data: ProblemSets) -> TrainResult:
        from lab_rlrt.credit import make_credit

        return grpo_run.train(ctx, data, self.config, make_credit(self.config))

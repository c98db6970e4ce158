"""The trainer component: GRPO on the toolkit with this plugin's credit."""

from typing import TYPE_CHECKING, Any

from lab_llm import grpo_run, ranks
from lab_llm.problems import ProblemSets
from lab_llm.templates import check_template, teacher_template
from labrun import Dataset, LabError, TrainResult

from lab_rlrt.config import RLRTConfig

if TYPE_CHECKING:
    from labrun.context import RunContext

UNTAUGHT = ("grpo", "entropy_shaped")
"""Credits without a teacher, whose contexts need not fit."""


class RLRTTrainer:
    """Trains one policy by `config.credit`, in as many processes as the run has."""

    max_processes = None

    def __init__(self, config: RLRTConfig) -> None:
        self.config = config

    def preflight(self, dataset: Dataset) -> dict[str, object]:
        config = self.config
        template = teacher_template(config.teacher_template, model=config.model.name)
        try:
            check_template(template)
        except LabError as error:
            raise LabError(f"trainer.teacher_template: {error}") from error
        own_teacher = config.credit == "sdpo" and config.distillation.teacher != "live"
        facts = grpo_run.preflight(config, num_teachers=int(own_teacher))
        if config.credit == "sdpo" and "missing" not in facts:
            grpo_run.check_distillation(config)
        if "missing" not in dataset.preflight():
            problems: Any = dataset.load(None)  # pyright: ignore[reportArgumentType]
            context = None if config.credit in UNTAUGHT else config.teacher_context
            grpo_run.check_lengths(config, problems.train, context=context, template=template)
        return facts

    def check_processes(self, num_processes: int) -> None:
        ranks.check_rollouts(self.config, num_processes)

    def fit(self, ctx: "RunContext", data: ProblemSets) -> TrainResult:
        from lab_rlrt.credit import make_credit

        return grpo_run.train(ctx, data, self.config, make_credit(self.config))

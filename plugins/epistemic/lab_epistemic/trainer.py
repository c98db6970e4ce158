"""The trainer component: SDPO, or GRPO, on the toolkit."""

from typing import TYPE_CHECKING, Any

from lab_llm.planning import teacher as teacher_preflight
from lab_llm.problems import ProblemSets
from lab_llm.text.prompts import teacher_template
from lab_llm.training import run as grpo_run
from lab_llm.training.microbatches import check_rollouts
from labrun import Dataset, TrainResult

from lab_epistemic.config import EpistemicConfig

if TYPE_CHECKING:
    from lab_llm.training.credit import Credit
    from labrun.runs.context import RunContext


class EpistemicTrainer:
    """Trains one policy by `config.objective`, in as many processes as the run has."""

    max_processes = None

    def __init__(self, config: EpistemicConfig) -> None:
        self.config = config

    def preflight(self, dataset: Dataset) -> dict[str, object]:
        config = self.config
        sdpo = config.objective == "sdpo"
        facts = teacher_preflight.preflight(
            config,
            dataset,
            template=teacher_template(config.teacher_template, model=config.model.name),
            context=config.teacher_context if sdpo else None,
            distillation=config.distillation if sdpo else None,
        )
        if sdpo and config.teacher_context == "reference_solution":
            _check_solutions(dataset)
        return facts

    def check_processes(self, num_processes: int) -> None:
        check_rollouts(self.config, num_processes)

    def fit(self, ctx: "RunContext", data: ProblemSets) -> TrainResult:
        return grpo_run.train(ctx, data, self.config, make_credit(self.config))


def _check_solutions(dataset: Dataset) -> None:
    if "missing" not in dataset.preflight():
        sets: Any = dataset.load(None)  # pyright: ignore[reportArgumentType]
        key = "trainer.teacher_context=reference_solution"
        teacher_preflight.check_solutions(sets.train, key=key)


def make_credit(config: EpistemicConfig) -> "Credit":
    """GRPO's plain credit, or SDPO's loss in its place."""
    from lab_llm.training.credit import Credit, unmeasured, unweighted

    return Credit(
        weigh=unweighted,
        measure=unmeasured,
        scored="none",
        context=config.teacher_context,
        template=teacher_template(config.teacher_template, model=config.model.name),
        words=config.words,
        distillation=config.distillation if config.objective == "sdpo" else None,
    )

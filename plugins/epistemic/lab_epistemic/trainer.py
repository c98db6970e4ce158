"""The trainer component: SDPO, or GRPO, on the toolkit."""

from typing import TYPE_CHECKING, Any

from lab_llm.planning import teacher as teacher_preflight
from lab_llm.problems import ProblemSets
from lab_llm.text.prompts import teacher_template
from lab_llm.training import run as grpo_run
from lab_llm.training.distillation_config import DistillationConfig
from lab_llm.training.microbatches import check_rollouts
from lab_llm.training.teacher import distilling_teacher
from labrun import Dataset, TrainResult

from lab_epistemic.config import EpistemicConfig

if TYPE_CHECKING:
    from lab_llm.training.objective import Objective
    from labrun.runs.context import RunContext


class EpistemicTrainer:
    """Trains one policy by `config.objective`, in as many processes as the run has."""

    max_processes = None

    def __init__(self, config: EpistemicConfig) -> None:
        self.config = config

    def preflight(self, dataset: Dataset) -> dict[str, object]:
        config = self.config
        distillation = distillation_of(config)
        facts = teacher_preflight.preflight(
            config,
            dataset,
            template=template_of(config),
            context=None if distillation is None else config.teacher_context,
            distillation=distillation,
        )
        if distillation is not None and config.teacher_context == "reference_solution":
            _check_solutions(dataset)
        return facts

    def check_processes(self, num_processes: int) -> None:
        check_rollouts(self.config, num_processes)

    def fit(self, ctx: "RunContext", data: ProblemSets) -> TrainResult:
        config = self.config
        objective = make_objective(config)
        return grpo_run.train(
            ctx, data, config, objective, template=template_of(config), words=config.words
        )


def _check_solutions(dataset: Dataset) -> None:
    if "missing" not in dataset.preflight():
        sets: Any = dataset.load(None)  # pyright: ignore[reportArgumentType]
        key = "trainer.teacher_context=reference_solution"
        teacher_preflight.check_solutions(sets.train, key=key)


def template_of(config: EpistemicConfig) -> str:
    """How a solution enters the teacher's prompt."""
    return teacher_template(config.teacher_template, model=config.model.name)


def distillation_of(config: EpistemicConfig) -> DistillationConfig | None:
    """SDPO's settings, where that is the objective."""
    return config.distillation if config.objective == "sdpo" else None


def make_objective(config: EpistemicConfig) -> "Objective":
    """The distance to a teacher, or GRPO's surrogate."""
    from lab_llm.training.objective import Surrogate
    from lab_llm.training.self_distillation import SelfDistillation

    distillation = distillation_of(config)
    if distillation is None:
        return Surrogate(config)
    teacher = distilling_teacher(
        distillation, context=config.teacher_context, template=template_of(config)
    )
    return SelfDistillation(distillation, teacher=teacher, temperature=config.temperature)

"""What can be known of a GRPO run, with or without a teacher, before it starts."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from labrun.errors import LabError
from labrun.plan import Plan, Setup

from lab_llm.planning import gpu_memory, grpo_settings, least_time
from lab_llm.planning import prompts as prompts_plan
from lab_llm.planning.sizes import TeacherSize, model_shape
from lab_llm.planning.teacher_weights import TeacherCopies
from lab_llm.planning.unused import unused
from lab_llm.policy.tokenizer_files import load_tokenizer
from lab_llm.problems import (
    MARKED,
    THINK_START,
    Problem,
    ProblemSets,
    problem_sets,
    shown_without_thinking,
)
from lab_llm.text.prompts import check_template, with_short_prompts
from lab_llm.training.config import Context, GRPOSettings
from lab_llm.training.distillation_config import DistillationConfig
from lab_llm.training.microbatches import check_rollouts, optimizer_step
from lab_llm.training.zero import check_zero_file


def plan(
    setup: Setup,
    settings: GRPOSettings,
    *,
    context: Context | None = None,
    distillation: DistillationConfig | None = None,
    method: str = "this method",
) -> Plan:
    """What is known of the run; it offers the policy, where that is known.

    `context`: what the teacher is shown besides the prompt, in `settings.template`; None: there is
    no teacher. `distillation`: SDPO's settings, where that is the objective. `method`: the
    setting that chose the objective, such as `trainer.credit=grpo`. Raises LabError where settings,
    model, data and machine cannot work together.
    """
    if setup.num_processes > 1:
        check_rollouts(settings, setup.num_processes)
    if settings.deepspeed:
        step = optimizer_step(settings, setup.num_processes)
        check_zero_file(settings, step, num_processes=setup.num_processes)
    sets = problem_sets(setup, key="trainer")
    _check_template(settings.template)
    if distillation is not None:
        grpo_settings.check_distillation(settings)
    copies = TeacherCopies(settings, context, distillation)
    copies.check()
    plan = grpo_settings.plan(settings)
    facts: dict[str, object] = {}
    if sets is not None:
        kept = _short_sets(settings, sets, plan)
        _check_data(settings, kept, plan, context, distillation)
        if dropped := len(sets.train) - len(kept.train):
            long = f"{dropped} with prompts over {settings.max_prompt_length} tokens"
            facts["problems_left_out"] = long
        sets = kept
    shape = model_shape(settings)
    teacher = TeacherSize(0.0 if shape is None else copies.on_gpu(shape), distillation)
    facts |= gpu_memory.facts(setup, settings, teacher, policy=plan.offers, sets=sets)
    facts |= least_time.facts(setup, settings, shape)
    if shape is not None and settings.max_steps:
        facts |= copies.facts(shape)
    idle = unused(settings, method=method, context=context, distillation=distillation)
    return dataclasses.replace(plan, facts={**plan.facts, **facts}, unused=idle)


def _short_sets(settings: GRPOSettings, sets: ProblemSets, plan: Plan) -> ProblemSets:
    """The sets without training problems whose prompts are too long, where that can be told."""
    if plan.offers is None or settings.max_prompt_length is None:
        return sets
    short = short_prompts(plan.offers.tokenizer, sets.train, settings)
    return dataclasses.replace(sets, train=short)


def short_prompts(
    tokenizer: Any, problems: Sequence[Problem], settings: GRPOSettings
) -> Sequence[Problem]:
    """The problems within `max_prompt_length`. Raises LabError where none is."""
    longest = settings.max_prompt_length
    kept = with_short_prompts(tokenizer, problems, longest=longest)
    if problems and not kept:
        raise LabError(
            f"trainer.max_prompt_length={longest} leaves none of {len(problems)} training "
            "problems; raise it, or set trainer.max_prompt_length=null"
        )
    return kept


def _check_data(
    settings: GRPOSettings,
    sets: ProblemSets,
    plan: Plan,
    context: Context | None,
    distillation: DistillationConfig | None,
) -> None:
    """Raises LabError where the problems do not suit the model, or the teacher."""
    template, model_here = settings.template, not plan.missing
    longest = distillation.max_context_length if distillation is not None else None
    grpo_settings.check_lengths(
        settings, sets.train, context=context, template=template, longest_solution=longest
    )
    grpo_settings.check_evaluation(settings, sets.evaluation)
    if model_here and plan.offers is not None:
        prompts_plan.check_prompts(
            plan.offers, sets, template=None if context is None else template
        )
    if distillation is not None and distillation.richness == "without_thinking":
        _check_thinking(settings, sets, context, model_here=model_here)


def _check_template(template: str) -> None:
    try:
        check_template(template)
    except LabError as error:
        raise LabError(f"trainer.teacher_template: {error}") from error


def _check_thinking(
    settings: GRPOSettings, sets: ProblemSets, context: Context | None, *, model_here: bool
) -> None:
    """LabError where no solution that the teacher could be shown marks its thinking."""
    if sets.forms is not MARKED:
        return
    advice = "set trainer.distillation.richness=solution or answer"
    if context == "reference_solution":
        if not any(map(_marks_thinking, sets.train)):
            raise LabError(
                "trainer.distillation.richness=without_thinking, but none of the dataset's "
                f"{len(sets.train)} solutions has <think>...</think>; {advice}"
            )
    elif model_here and not knows_thinking(settings):
        raise LabError(
            f"trainer.distillation.richness=without_thinking, but model {settings.model.name!r} "
            "does not mark its thinking: its chat template and vocabulary hold no <think>, or "
            f"model.thinking=false; "
            f"{advice}, or take a model that thinks"
        )


def _marks_thinking(problem: Problem) -> bool:
    return problem.solution is not None and shown_without_thinking(problem.solution) is not None


def knows_thinking(settings: GRPOSettings) -> bool:
    """Whether the model's chat template or vocabulary holds <think>, and thinking is not off."""
    if settings.model.thinking is False:
        return False
    tokenizer: Any = load_tokenizer(settings.model)
    return THINK_START in str(tokenizer.chat_template) or THINK_START in tokenizer.get_vocab()


def check_solutions(problems: Sequence[Problem], *, key: str) -> None:
    """LabError, naming `key`, where a problem has no worked solution."""
    without = [problem.id for problem in problems if problem.solution is None]
    if without:
        raise LabError(
            f"{key}, but {len(without)} of {len(problems)} training problems have no solution "
            f"(the first: {without[0]}); set dataset.solution_column, or take another context"
        )

"""Whether the settings of a GRPO run, its model and its machine agree."""

from collections.abc import Mapping, Sequence

from labrun.errors import LabError
from labrun.plan import Continues, Plan

from lab_llm.planning.gpus import missing_precision
from lab_llm.planning.sizes import model_shape, sizes
from lab_llm.policy.facts import policy_facts
from lab_llm.policy.location import NotHereError, locate
from lab_llm.policy.policy import known_by_files
from lab_llm.policy.tokenizer_files import load_tokenizer
from lab_llm.problems import Message, Problem
from lab_llm.text.prompts import encode, most_tokens, with_solution
from lab_llm.training.config import Context, GRPOSettings
from lab_llm.training.engines import ENGINES
from lab_llm.training.precision import check_precision
from lab_llm.training.teacher import SHOW_LESS
from lab_llm.training.zero import missing_deepspeed


def plan(settings: GRPOSettings) -> Plan:
    """What is known of the run, but for its GPUs' memory.

    It offers the policy, where the files tell it at once. Raises LabError where its settings, model
    and machine cannot work together.
    """
    rollouts = settings.prompts_per_step * settings.num_generations
    _check_batches(settings, rollouts)
    _check_schedule(settings)
    if settings.epsilon_high is not None and settings.epsilon_high < settings.epsilon:
        raise LabError(
            f"trainer.epsilon_high={settings.epsilon_high} is below trainer.epsilon="
            f"{settings.epsilon}; raise it, or lower trainer.epsilon"
        )
    _check_dual_clip(settings)
    ENGINES[settings.sampler].check_settings(settings)
    precision = check_precision(
        settings.model,
        master_weights=settings.master_weights,
        deepspeed=bool(settings.deepspeed),
        learning_rate=settings.learning_rate,
    )
    missing = _missing_packages(settings)
    try:
        facts = policy_facts(settings.model)
    except NotHereError as error:
        missing.append(str(error))
        facts = {"model": settings.model.name, "dtype": settings.model.dtype, "path": "not here"}
        policy = None
    else:
        _check_model(settings)
        policy = known_by_files(settings.model)
    shape = model_shape(settings)
    limit = facts.get("context_length", shape.context_length if shape else None)
    if isinstance(limit, int) and settings.max_completion_length >= limit:
        raise LabError(
            f"trainer.max_completion_length={settings.max_completion_length} leaves no room for a "
            f"prompt in the model's {limit} tokens"
        )
    facts |= {"context_length": limit} if limit else {}
    facts = sizes(settings, shape) | facts | (precision if settings.max_steps else {})
    ends = ("lr_schedule",) if settings.lr_schedule in ("linear", "cosine") else ()
    return Plan(
        facts,
        missing,
        max_processes=None,
        offers=policy,
        continues=Continues(("save_every", "evaluate_every", "evaluate_start"), ends),
    )


def _check_dual_clip(settings: GRPOSettings) -> None:
    """LabError where the dual clip would act before the clip itself."""
    high = settings.epsilon if settings.epsilon_high is None else settings.epsilon_high
    if settings.dual_clip is not None and settings.dual_clip <= 1 + high:
        raise LabError(
            f"trainer.dual_clip={settings.dual_clip} is not above the upper clip of the ratio, "
            f"{1 + high:g}; raise it (arXiv 2603.24472: 3), or set trainer.dual_clip=null"
        )


def _check_schedule(settings: GRPOSettings) -> None:
    """LabError where the warm-up has no place in the schedule."""
    kind, warmup, steps = settings.lr_schedule, settings.warmup_steps, settings.max_steps
    if warmup and kind == "constant":
        raise LabError(
            f"trainer.lr_schedule=constant has no warm-up, but warmup_steps={warmup}"
            "; use trainer.lr_schedule=constant_with_warmup, or trainer.warmup_steps=0"
        )
    if kind in ("linear", "cosine") and 0 < steps <= warmup:
        raise LabError(
            f"trainer.warmup_steps={warmup} leaves none of trainer.max_steps={steps} for "
            f"lr_schedule={kind}; lower it, or use trainer.lr_schedule=constant_with_warmup"
        )


def _check_batches(settings: GRPOSettings, rollouts: int) -> None:
    """LabError where a batch of rollouts does not part evenly, or a step would end inside one."""
    minibatches = settings.num_minibatches
    if rollouts % minibatches:
        raise LabError(
            f"trainer.num_minibatches={minibatches} does not divide a step's {rollouts} rollouts "
            "(prompts_per_step * num_generations)"
        )
    if settings.max_steps % minibatches:
        raise LabError(
            f"trainer.max_steps={settings.max_steps} is no multiple of "
            f"num_minibatches={minibatches}: a run ends between batches of rollouts only"
        )


def _missing_packages(settings: GRPOSettings) -> list[str]:
    """What the sampler, DeepSpeed and the precision need and this machine lacks."""
    missing = ENGINES[settings.sampler].missing() + missing_deepspeed(settings)
    return missing + missing_precision(settings.model)


def _check_model(settings: GRPOSettings) -> None:
    """LabError where TRL cannot load the model a second time, or the sampler cannot run it."""
    path = locate(settings.model)
    if path.suffix == ".gguf" and settings.beta > 0:
        raise LabError(
            f"trainer.beta={settings.beta} loads the model a second time as its reference, "
            f"which a GGUF file ({path.name}) does not allow; use trainer.beta=0, or a "
            "directory that the model was saved to"
        )
    ENGINES[settings.sampler].check_model(settings)


def check_distillation(settings: GRPOSettings) -> None:
    """LabError where a setting adds a term that self-distillation does not have, mixed with the
    surrogate or not."""
    for name in ("beta", "entropy_coef"):
        value = getattr(settings, name)
        if value:
            raise LabError(
                f"trainer.{name}={value}: the loss of self-distillation (sdpo, opsd, sdft) has no "
                f"such term; set trainer.{name}=0, or take another method"
            )


def check_lengths(
    settings: GRPOSettings,
    problems: Sequence[Problem],
    *,
    context: Context | None,
    template: str,
    longest_solution: int | None = None,
) -> None:
    """LabError where a prompt and a whole completion, or what the teacher reads, do not fit.

    `context` is what the teacher is shown besides the prompt; None: there is no teacher. A sibling
    is taken for as long as a completion may be. `longest_solution` (tokens) is where every solution
    is cut off; None: it is shown whole. A token holds a byte at least: only those prompts
    are tokenised whose bytes would not fit. Nothing is checked where the model is not here.
    """
    shape = model_shape(settings)
    limit = shape.context_length if shape else 0
    if not limit:
        return
    room = limit - settings.max_completion_length
    asked = [(p, list(p.prompt)) for p in problems]
    _refuse_long(settings, asked, room=room, limit=limit)
    if context is None:
        return
    unseen = context == "sibling" or longest_solution is not None
    shown = [
        (p, with_solution(p.prompt, "" if unseen else _shown(p, context), template))
        for p in problems
    ]
    if unseen:
        longest = settings.max_completion_length if context == "sibling" else limit
        room -= min(longest, longest_solution or longest)
    _refuse_long(settings, shown, room=room, limit=limit, teacher=context)


def check_evaluation(settings: GRPOSettings, sets: Mapping[str, Sequence[Problem]]) -> None:
    """LabError where a prompt of an evaluation set leaves no room for a single token.

    How long its completions are is the evaluator's own. Nothing is checked where the model is not
    here.
    """
    shape = model_shape(settings)
    if shape is None or not shape.context_length:
        return
    for name, problems in sets.items():
        asked = [(problem, list(problem.prompt)) for problem in problems]
        longest, problem = _longest(settings, asked, room=shape.context_length - 1)
        if longest:
            raise LabError(
                f"evaluation set {name!r}: the prompt of {problem} has {longest} tokens, the model "
                f"takes {shape.context_length} with the completion; take it out, or take a model "
                "with a longer context"
            )


def _shown(problem: Problem, context: Context) -> str:
    solution = problem.solution if context == "reference_solution" else None
    return problem.answer if solution is None else solution


def _refuse_long(
    settings: GRPOSettings,
    chats: Sequence[tuple[Problem, Sequence[Message]]],
    *,
    room: int,
    limit: int,
    teacher: Context | None = None,
) -> None:
    """LabError for the longest of the chats that has more than `room` tokens."""
    longest, name = _longest(settings, chats, room=room)
    if not longest:
        return
    completion = f"max_completion_length={settings.max_completion_length}"
    if teacher is None:
        what, change = f"the prompt of {name} has {longest} tokens", "take other problems"
    elif teacher == "sibling":
        what = f"the teacher's prompt for {name} has {longest} tokens before the rollout it shows"
        change = SHOW_LESS
    else:
        what = f"the teacher's prompt for {name} with its {teacher} has {longest} tokens"
        change = SHOW_LESS
    raise LabError(
        f"{what}, which with trainer.{completion} is more than the model's {limit} tokens; "
        f"lower trainer.max_completion_length, or {change}"
    )


def _longest(
    settings: GRPOSettings, chats: Sequence[tuple[Problem, Sequence[Message]]], *, room: int
) -> tuple[int, str]:
    """Tokens and problem of the longest chat of more than `room`; 0 where there is none, or no
    tokenizer here to tell."""
    suspects = [(p, chat) for p, chat in chats if most_tokens(chat) > room]
    if not suspects:
        return 0, ""
    try:
        tokenizer = load_tokenizer(settings.model)
    except NotHereError:
        return 0, ""
    longest, name = max((len(encode(tokenizer, chat)), p.id) for p, chat in suspects)
    return (longest, name) if longest > room else (0, "")

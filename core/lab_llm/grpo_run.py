"""One GRPO run from a run's context to its trained policy."""

import dataclasses
import importlib.util
import json
import os
import socket
import warnings
from collections.abc import Iterator, Sequence
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from labrun.contract import TrainResult
from labrun.errors import LabError, PreemptedError

from lab_llm import estimates, ranks
from lab_llm.credit import Context, Credit
from lab_llm.grpo_config import GRPOSettings
from lab_llm.policy import (
    NotHereError,
    Policy,
    load_policy,
    load_tokenizer,
    locate,
    preflight_policy,
    read_config,
    read_settings,
)
from lab_llm.problems import Message, Problem, ProblemSets
from lab_llm.templates import TEMPLATE_FILE, encode, with_solution

if TYPE_CHECKING:
    from labrun.context import RunContext

SHIPPED_DEEPSPEED = ("zero2", "zero3")
TEMPLATE_TOKENS = 512
"""More than the chat templates of models put around a prompt (tokens)."""
PLANNED_PROCESSES = (1, 4, 8)
"""Numbers of processes that a dry run estimates the memory for."""


def preflight(settings: GRPOSettings, *, num_teachers: int = 0) -> dict[str, object]:
    """Facts of the run; LabError where its settings, model and machine cannot work together.

    `num_teachers`: copies of the model besides the policy that the method keeps.
    """
    rollouts = settings.prompts_per_step * settings.num_generations
    _check_batches(settings, rollouts)
    if settings.warmup_steps and settings.lr_schedule == "constant":
        raise LabError(
            f"trainer.lr_schedule=constant has no warm-up, but warmup_steps={settings.warmup_steps}"
            "; use trainer.lr_schedule=constant_with_warmup, or trainer.warmup_steps=0"
        )
    missing = _missing_packages(settings)
    try:
        facts = preflight_policy(settings.model)
    except NotHereError as error:
        missing.append(str(error))
        facts = {"model": settings.model.name, "dtype": settings.model.dtype, "path": "not here"}
    else:
        _check_model(settings)
    shape = _shape(settings)
    limit = facts.get("context_length", shape.context_length if shape else None)
    if isinstance(limit, int) and settings.max_completion_length >= limit:
        raise LabError(
            f"trainer.max_completion_length={settings.max_completion_length} leaves no room for a "
            f"prompt in the model's {limit} tokens"
        )
    facts |= {"context_length": limit} if limit else {}
    facts = _estimates(settings, shape, num_teachers) | facts
    return facts | ({"missing": missing} if missing else {})


def _check_batches(settings: GRPOSettings, rollouts: int) -> None:
    """LabError where a batch of rollouts does not part evenly, or a step would end inside one."""
    minibatches = settings.num_minibatches
    if rollouts % minibatches:
        raise LabError(
            f"trainer.num_minibatches={minibatches} does not divide a step's {rollouts} rollouts "
            "(prompts_per_step * num_generations)"
        )
    if (rollouts // minibatches) % settings.micro_batch_size:
        of = f" / {minibatches} minibatches" if minibatches > 1 else ""
        raise LabError(
            f"trainer.micro_batch_size={settings.micro_batch_size} does not divide a step's "
            f"{rollouts // minibatches} rollouts (prompts_per_step * num_generations{of})"
        )
    if settings.max_steps % minibatches:
        raise LabError(
            f"trainer.max_steps={settings.max_steps} is no multiple of "
            f"num_minibatches={minibatches}: a run ends between batches of rollouts only"
        )


def _missing_packages(settings: GRPOSettings) -> list[str]:
    """What the sampler, DeepSpeed and the precision need and this machine lacks."""
    missing: list[str] = []
    if settings.sampler == "vllm" and not importlib.util.find_spec("vllm"):
        missing.append(
            "trainer.sampler=vllm, but vllm is not installed; `pip install 'labrun[gpu]'`, "
            "or trainer.sampler=cpu"
        )
    if zero_stage(settings) and not importlib.util.find_spec("deepspeed"):
        missing.append(
            f"trainer.deepspeed={settings.deepspeed}, but deepspeed is not installed; "
            "`pip install 'labrun[gpu]'`, or trainer.deepspeed=''"
        )
    if settings.model.dtype == "bfloat16" and _gpu_without_bfloat16():
        missing.append(
            "trainer.model.dtype=bfloat16: this GPU does not compute in it; "
            "trainer.model.dtype=float32, or another GPU"
        )
    return missing


def check_lengths(
    settings: GRPOSettings, problems: Sequence[Problem], *, context: Context | None, template: str
) -> None:
    """LabError where a prompt and a whole completion, or what the teacher reads, do not fit.

    `context` is what the teacher is shown besides the prompt; None: there is no teacher. A sibling
    is taken for as long as a completion may be. A token holds a byte at least: only those prompts
    are tokenised whose bytes would not fit. Nothing is checked where the model is not here.
    """
    shape = _shape(settings)
    limit = shape.context_length if shape else 0
    if not limit:
        return
    room = limit - settings.max_completion_length
    asked = [(p, list(p.prompt)) for p in problems]
    _refuse_long(settings, asked, room=room, limit=limit)
    if context is None:
        return
    sibling = context == "sibling"
    shown = [
        (p, with_solution(p.prompt, "" if sibling else _shown(p, context), template))
        for p in problems
    ]
    room -= settings.max_completion_length if sibling else 0
    _refuse_long(settings, shown, room=room, limit=limit, teacher=context)


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
    suspects = [(p, chat) for p, chat in chats if _most_tokens(chat) > room]
    if not suspects:
        return
    try:
        tokenizer = load_tokenizer(settings.model)
    except NotHereError:
        return
    lengths = [(len(encode(tokenizer, chat)), problem.id) for problem, chat in suspects]
    longest, name = max(lengths)
    if longest <= room:
        return
    completion = f"max_completion_length={settings.max_completion_length}"
    if teacher is None:
        what, change = f"the prompt of {name} has {longest} tokens", "dataset.limit or other rows"
    elif teacher == "sibling":
        what = f"the teacher's prompt for {name} has {longest} tokens before the rollout it shows"
        change = "trainer.teacher_context=answer"
    else:
        what = f"the teacher's prompt for {name} with its {teacher} has {longest} tokens"
        change = "trainer.teacher_context=answer"
    raise LabError(
        f"{what}, which with trainer.{completion} is more than the model's {limit} tokens; "
        f"lower trainer.max_completion_length, or set {change}"
    )


def _most_tokens(chat: Sequence[Message]) -> int:
    """An upper bound: the bytes of the text, and what a chat template may put around it."""
    return TEMPLATE_TOKENS + sum(len(message["content"].encode()) for message in chat)


def _gpu_without_bfloat16() -> bool:
    import torch

    cuda = torch.cuda
    return cuda.is_available() and not cuda.is_bf16_supported(including_emulation=False)


def _shape(settings: GRPOSettings) -> estimates.ModelShape | None:
    """The model's sizes, from its config.json or, where it is not here, from what is known."""
    try:
        path = locate(settings.model)
    except NotHereError:
        return estimates.KNOWN.get(settings.model.name)
    if path.is_file():
        return estimates.KNOWN.get(settings.model.name)
    return estimates.shape_of(read_settings(path, settings.model.name))


def _estimates(
    settings: GRPOSettings, shape: estimates.ModelShape | None, num_teachers: int
) -> dict[str, object]:
    """Work, memory and disk of the run, in GiB (2**30 bytes), for the dry run."""
    todo = estimates.work(
        max_steps=settings.max_steps,
        num_minibatches=settings.num_minibatches,
        prompts_per_step=settings.prompts_per_step,
        num_generations=settings.num_generations,
        max_completion_length=settings.max_completion_length,
    )
    facts: dict[str, object] = {
        "optimizer_steps": settings.max_steps,
        "rollouts_per_step": todo.rollouts_per_batch,
        "rollouts": todo.rollouts,
        "tokens_per_step": f"at most {todo.tokens_per_batch:,}",
        "tokens": f"at most {todo.tokens:,}",
    }
    if shape is None:
        return facts
    parameters, dtype = estimates.num_parameters(shape), settings.model.dtype
    disk = estimates.checkpoint_bytes(parameters, dtype=dtype, deepspeed=bool(settings.deepspeed))
    facts |= {"parameters": parameters, "checkpoint_gib": round(disk / estimates.GIB, 3)}
    return facts | {
        f"gpu_memory_gib, {n} process{'es' if n > 1 else ''}": _memory(
            settings, shape, n, num_teachers
        )
        for n in PLANNED_PROCESSES
    }


def _memory(
    settings: GRPOSettings, shape: estimates.ModelShape, num_processes: int, num_teachers: int
) -> str:
    """Memory of one GPU and what it is made of."""
    dtype, gib = settings.model.dtype, estimates.GIB
    state = estimates.state_bytes(
        estimates.num_parameters(shape),
        dtype=dtype,
        zero_stage=zero_stage(settings),
        num_processes=num_processes,
        num_copies=num_teachers + int(settings.beta > 0),
    )
    tokens = settings.micro_batch_size * settings.max_completion_length
    activations = estimates.activation_bytes(
        shape, tokens=tokens, dtype=dtype, checkpointing=settings.gradient_checkpointing
    )
    logits = estimates.logits_bytes(shape, tokens=tokens, dtype=dtype)
    here = settings.sampler == "vllm" and settings.vllm_mode == "colocate"
    share = settings.vllm_gpu_memory_utilization if here else 0.0
    total = estimates.gpu_bytes(state.total + activations + logits, vllm_share=share)
    parts = {
        "weights": state.weights,
        "gradients": state.gradients,
        "optimizer": state.optimizer,
        "copies": state.copies,
        "activations": activations,
        "logits": logits,
        "vllm": total * share,
    }
    named = ", ".join(f"{name} {size / gib:.3g}" for name, size in parts.items() if size)
    return f"{total / gib:.3g} ({named})"


def check_distillation(settings: GRPOSettings) -> None:
    """LabError where the model's output layer is more than its head, which SDPO's loss calls."""
    path = locate(settings.model)
    if path.suffix == ".gguf":
        return
    read = read_config(path, settings.model)
    if getattr(read, "final_logit_softcapping", None):
        raise LabError(
            f"method=sdpo: model {settings.model.name!r} caps its logits "
            "(final_logit_softcapping), which the distillation loss does not; take another model"
        )


def deepspeed_path(settings: GRPOSettings) -> str:
    """The DeepSpeed configuration: `zero2` and `zero3` are the package's own; empty: none."""
    if settings.deepspeed in SHIPPED_DEEPSPEED:
        return str(files("lab_llm") / "data" / "deepspeed" / f"{settings.deepspeed}.json")
    return settings.deepspeed


def zero_stage(settings: GRPOSettings) -> int:
    """The ZeRO stage of the DeepSpeed configuration; 0 without any. Raises LabError."""
    if not settings.deepspeed:
        return 0
    path = Path(deepspeed_path(settings))
    try:
        return int(json.loads(path.read_text())["zero_optimization"]["stage"])
    except FileNotFoundError as error:
        raise LabError(
            f"trainer.deepspeed={path}: no such file; "
            f"give a path, or one of {', '.join(SHIPPED_DEEPSPEED)}"
        ) from error
    except OSError as error:
        raise LabError(f"trainer.deepspeed={path}: cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise LabError(f"trainer.deepspeed={path}: no zero_optimization.stage in it") from error


def _check_model(settings: GRPOSettings) -> None:
    """LabError where the decoder cannot run the model, or TRL cannot load it a second time."""
    path = locate(settings.model)
    if path.suffix == ".gguf":
        if settings.beta > 0:
            raise LabError(
                f"trainer.beta={settings.beta} loads the model a second time as its reference, "
                f"which a GGUF file ({path.name}) does not allow; use trainer.beta=0, or a "
                "directory that the model was saved to"
            )
        if settings.sampler == "vllm":
            raise LabError(
                "trainer.sampler=vllm loads the model by its name, which a GGUF file "
                f"({path.name}) does not allow; use trainer.sampler=cpu, or a directory that the "
                "model was saved to"
            )
        return
    if settings.sampler == "cpu":
        from lab_llm.decoder import check_architecture

        try:
            check_architecture(read_config(path, settings.model))
        except LabError as error:
            raise LabError(
                f"trainer.sampler=cpu, {path / 'config.json'}: {error}; "
                "use trainer.sampler=transformers or vllm"
            ) from error


def train(
    ctx: "RunContext", sets: ProblemSets, settings: GRPOSettings, credit: Credit
) -> TrainResult:
    """Train from `ctx.resume_from` or from the start; the model is left in `artifacts/model`."""
    import torch

    torch.manual_seed(ctx.derive_seed("torch"))
    cuda = torch.cuda.is_available()
    if settings.deepspeed:
        _rendezvous_alone(cuda=cuda)
    if ctx.world_size > 1:
        ranks.join(cuda=cuda)
        ctx.barrier = ranks.barrier
    policy = load_policy(settings.model)
    if settings.max_steps == 0:
        return TrainResult(policy, 0)
    if ctx.resume_from is None and settings.evaluate_start:
        ctx.evaluate(policy, sets, step=0)
    trainer = build_trainer(ctx, policy, sets, settings, credit)
    resume = str(next(ctx.resume_from.glob("checkpoint-*"))) if ctx.resume_from else None
    trainer.train(resume_from_checkpoint=resume)
    step = trainer.state.global_step
    if step < settings.max_steps:
        raise PreemptedError(f"stopped at step {step} of {settings.max_steps}")
    return TrainResult(_keep(ctx, trainer, policy, credit.template), step)


def _keep(ctx: "RunContext", trainer: Any, policy: Policy, template: str) -> Policy:
    """The trained policy, whole on every rank, left in `artifacts/model` by the first."""
    model = trainer.accelerator.unwrap_model(trainer.model)
    trained = trainer.with_engine(Policy(model, policy.tokenizer))
    target = ctx.run.artifacts / "model"
    with ranks.whole_weights(trained.model, trainer.optimizer):
        if ctx.rank == 0:
            trained.model.save_pretrained(target)
            trained.tokenizer.save_pretrained(target)
            (target / TEMPLATE_FILE).write_text(template, encoding="utf-8")
    ranks.barrier()
    if not trainer.is_deepspeed_enabled:
        return trained
    # DeepSpeed's engine keeps the weights of stage 3 spread, whoever holds the model
    from transformers.integrations.deepspeed import unset_hf_deepspeed_config

    unset_hf_deepspeed_config()
    whole = dataclasses.replace(trainer.settings.model, name=str(target), revision=None)
    saved = load_policy(whole)
    saved.model.to(trainer.accelerator.device)  # pyright: ignore[reportArgumentType]
    return dataclasses.replace(trained, model=saved.model)


def _rendezvous_alone(*, cuda: bool) -> None:
    """Let DeepSpeed start in one process without a launcher; a launcher's variables win."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    alone = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"}
    alone |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    if not cuda:
        alone["DS_ACCELERATOR"] = "cpu"
    for name, value in alone.items():
        os.environ.setdefault(name, value)


def build_trainer(
    ctx: "RunContext", policy: Policy, sets: ProblemSets, settings: GRPOSettings, credit: Credit
) -> Any:
    """The trainer with the run's whole prompt stream, ready for `train()`."""
    from datasets import Dataset as Rows

    from lab_llm.grpo import CreditTrainer, RunCallback

    kind: Any = CreditTrainer
    if credit.distillation is not None:
        from lab_llm.self_distillation import SelfDistillationTrainer

        kind = partial(SelfDistillationTrainer, distillation=credit.distillation)
    order = list(prompt_order(ctx, len(sets.train), settings))
    prompts = [[dict(message) for message in sets.train[i].prompt] for i in order]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # notices of transformers and TRL about their own defaults
        trainer = kind(
            ctx=ctx,
            policy=policy,
            sets=sets,
            settings=settings,
            credit=credit,
            args=trl_config(ctx, settings),
            train_dataset=Rows.from_dict({"prompt": prompts, "index": order}),
        )
    trainer.add_callback(RunCallback(ctx, trainer, sets, settings.evaluate_every))
    return trainer


def prompt_order(ctx: "RunContext", size: int, settings: GRPOSettings) -> Iterator[int]:
    """The problem of every prompt of the run, epoch after epoch of fresh permutations.

    The whole stream is one epoch to the trainer, so that its position after a resume is its step.
    """
    if size == 0:
        raise LabError("the training set is empty")
    wanted = settings.max_steps // settings.num_minibatches * settings.prompts_per_step
    for epoch in range(-(-wanted // size)):
        order = ctx.rng("prompts", epoch).permutation(size)
        yield from np.asarray(order[: wanted - epoch * size]).tolist()


def num_processes() -> int:
    """Processes of this run, as a launcher says."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def whole_batches(steps: int, settings: GRPOSettings) -> int:
    """`steps` rounded up to where a batch of rollouts is used up: a resume begins there."""
    return -(-steps // settings.num_minibatches) * settings.num_minibatches


def trl_config(ctx: "RunContext", settings: GRPOSettings) -> Any:
    """TRL's configuration for these settings."""
    import torch
    from trl.trainer.grpo_config import GRPOConfig

    rollouts = settings.prompts_per_step * settings.num_generations // num_processes()
    parts = rollouts // settings.micro_batch_size
    cuda = torch.cuda.is_available()
    vllm = settings.sampler == "vllm"
    return GRPOConfig(
        output_dir=str(ctx.run_dir / "checkpoints"),
        max_steps=settings.max_steps,
        learning_rate=settings.learning_rate,
        lr_scheduler_type=settings.lr_schedule,
        warmup_steps=settings.warmup_steps,
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        per_device_train_batch_size=settings.micro_batch_size,
        gradient_accumulation_steps=parts // settings.num_minibatches,
        steps_per_generation=parts,
        num_generations=settings.num_generations,
        max_completion_length=settings.max_completion_length,
        temperature=settings.temperature,
        top_p=settings.top_p,
        top_k=settings.top_k,
        epsilon=settings.epsilon,
        epsilon_high=settings.epsilon_high,
        beta=settings.beta,
        entropy_coef=settings.entropy_coef,
        scale_rewards=settings.scale_rewards,
        loss_type=settings.loss_type,
        use_vllm=vllm,
        vllm_mode=settings.vllm_mode,
        vllm_server_base_url=settings.vllm_server or None,
        vllm_max_model_length=settings.vllm_max_model_length,
        vllm_gpu_memory_utilization=settings.vllm_gpu_memory_utilization,
        deepspeed=deepspeed_path(settings) or None,
        gradient_checkpointing=settings.gradient_checkpointing,
        bf16=settings.model.dtype == "bfloat16" and cuda,
        use_cpu=not cuda,
        seed=ctx.derive_seed("trainer") % 2**32,
        shuffle_dataset=False,
        save_strategy="steps",
        save_steps=whole_batches(settings.save_every, settings),
        logging_strategy="steps",
        logging_steps=1,
        logging_nan_inf_filter=False,
        report_to=[],
        disable_tqdm=True,
        dataloader_pin_memory=False,
        ddp_find_unused_parameters=False,
        remove_unused_columns=False,
    )

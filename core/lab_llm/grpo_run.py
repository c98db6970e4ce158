"""One GRPO run from a run's context to its trained policy."""

import importlib.util
import json
import os
import socket
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from labrun.contract import TrainResult
from labrun.errors import LabError, PreemptedError

from lab_llm.credit import Credit
from lab_llm.grpo_config import GRPOSettings
from lab_llm.policy import Policy, load_policy, locate, preflight_policy, read_config
from lab_llm.problems import ProblemSets
from lab_llm.templates import TEMPLATE_FILE

if TYPE_CHECKING:
    from labrun.context import RunContext


def preflight(settings: GRPOSettings) -> dict[str, object]:
    """Facts of the run; LabError where its settings, model and machine cannot work together."""
    rollouts = settings.prompts_per_step * settings.num_generations
    _check_batches(settings, rollouts)
    if settings.warmup_steps and settings.lr_schedule == "constant":
        raise LabError(
            f"trainer.lr_schedule=constant has no warm-up, but warmup_steps={settings.warmup_steps}"
            "; use trainer.lr_schedule=constant_with_warmup, or trainer.warmup_steps=0"
        )
    _check_sampler(settings)
    facts = preflight_policy(settings.model)
    _check_model(settings)
    limit = facts.get("context_length")
    if isinstance(limit, int) and settings.max_completion_length >= limit:
        raise LabError(
            f"trainer.max_completion_length={settings.max_completion_length} leaves no room for a "
            f"prompt in the model's {limit} tokens"
        )
    steps = settings.max_steps // settings.num_minibatches
    return {**facts, "rollouts_per_step": rollouts, "rollouts": steps * rollouts}


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


def _check_sampler(settings: GRPOSettings) -> None:
    if settings.sampler == "vllm" and not importlib.util.find_spec("vllm"):
        raise LabError(
            "trainer.sampler=vllm, but vllm is not installed; `pip install 'labrun[gpu]'`, "
            "or trainer.sampler=cpu"
        )
    if not settings.deepspeed:
        return
    path = Path(settings.deepspeed)
    try:
        stage = json.loads(path.read_text())["zero_optimization"]["stage"]
    except FileNotFoundError as error:
        raise LabError(f"trainer.deepspeed={path}: no such file") from error
    except OSError as error:
        raise LabError(f"trainer.deepspeed={path}: cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise LabError(f"trainer.deepspeed={path}: no zero_optimization.stage in it") from error
    if not importlib.util.find_spec("deepspeed"):
        raise LabError("trainer.deepspeed is set, but deepspeed is not installed; see infra/")
    if stage == 3 and settings.sampler == "cpu":
        raise LabError(
            "trainer.sampler=cpu cannot read weights that ZeRO-3 spreads over ranks; "
            "use trainer.sampler=transformers or vllm"
        )


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
    if settings.deepspeed:
        _rendezvous_alone(cuda=torch.cuda.is_available())
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
    trained = Policy(trainer.accelerator.unwrap_model(trainer.model), policy.tokenizer)
    target = ctx.artifact_path("model")
    trained.model.save_pretrained(target)
    trained.tokenizer.save_pretrained(target)
    (target / TEMPLATE_FILE).write_text(credit.template, encoding="utf-8")
    return TrainResult(trained, step)


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
            callbacks=[RunCallback(ctx, policy, sets, settings.evaluate_every)],
        )
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
    """`steps` rounded up to where a batch of rollouts is used up, which is where a resume begins."""
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
        vllm_gpu_memory_utilization=settings.vllm_gpu_memory_utilization,
        deepspeed=settings.deepspeed or None,
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
        remove_unused_columns=False,
    )

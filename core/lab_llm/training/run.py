"""One GRPO run from a run's context to its trained policy."""

import dataclasses
import os
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from labrun.contract import TrainResult
from labrun.errors import LabError, PreemptedError

from lab_llm.policy.policy import Policy
from lab_llm.problems import ProblemSets
from lab_llm.text.epistemic_words import EPISTEMIC_WORDS
from lab_llm.text.prompts import with_short_prompts
from lab_llm.training.config import GRPOSettings
from lab_llm.training.dead_runs import warn_of_dead_run
from lab_llm.training.engines import ENGINES
from lab_llm.training.microbatches import micro_batch_size
from lab_llm.training.objective import Objective
from lab_llm.training.trained_policy import keep, load_trained, meet, on_gpu
from lab_llm.training.vllm_length import longest_sequence
from lab_llm.training.zero import deepspeed_path

if TYPE_CHECKING:
    from labrun.runs.context import RunContext


def check_evaluators(ctx: "RunContext", policy: Policy, sets: ProblemSets) -> None:
    """Raises LabError where one of the run's evaluators cannot score this policy.

    Warns of data that have no evaluation set.
    """
    if ctx.evaluators and not sets.evaluation:
        ctx.warn("the data have no evaluation set: nothing is scored")
    ctx.check_evaluators(policy, sets)


def train(
    ctx: "RunContext",
    sets: ProblemSets,
    settings: GRPOSettings,
    objective: Objective,
    *,
    words: Sequence[str] = EPISTEMIC_WORDS,
) -> TrainResult:
    """Train from `ctx.resume_from` or from the start; the model is left in `artifacts/model`.

    `words` are what the metrics epistemic_words and epistemic_count count.
    """
    import torch

    torch.manual_seed(ctx.derive_seed("torch"))
    meet(ctx, settings)
    policy = load_trained(settings, max_steps=settings.max_steps)
    check_evaluators(ctx, policy, sets)
    short = with_short_prompts(policy.tokenizer, sets.train, longest=settings.max_prompt_length)
    sets = dataclasses.replace(sets, train=short)
    if settings.max_steps == 0:
        return TrainResult(on_gpu(policy), 0)
    if ctx.resume_from is None and settings.evaluate_start:
        ctx.evaluate(on_gpu(policy), sets, step=0)
        if settings.deepspeed:  # it spreads the weights out of the machine's memory
            policy.model.cpu()
    trainer = build_trainer(ctx, policy, sets, settings, objective, words=words)
    trainer.train_in_run()
    step = trainer.state.global_step
    if step < settings.max_steps:
        raise PreemptedError(f"stopped at step {step} of {settings.max_steps}")
    warn_of_dead_run(ctx, distils=objective.learns_from_equal_rewards)
    target, template = ctx.run.artifacts / "model", settings.template
    kept = keep(trainer, policy, target, model=settings.model, template=template)
    return TrainResult(kept, step)


def build_trainer(
    ctx: "RunContext",
    policy: Policy,
    sets: ProblemSets,
    settings: GRPOSettings,
    objective: Objective,
    *,
    words: Sequence[str] = EPISTEMIC_WORDS,
) -> Any:
    """The trainer with the run's whole prompt stream, ready for `train()`."""
    from datasets import Dataset as Rows

    from lab_llm.training.run_trainer import RunCallback
    from lab_llm.training.trainer import PolicyTrainer

    order = list(prompt_order(ctx, len(sets.train), settings))
    prompts = [[dict(message) for message in sets.train[i].prompt] for i in order]
    with warnings.catch_warnings(), ENGINES[settings.sampler].opening(settings):
        warnings.simplefilter("ignore")  # notices of transformers and TRL about their own defaults
        trainer = PolicyTrainer(
            ctx=ctx,
            policy=policy,
            sets=sets,
            settings=settings,
            objective=objective,
            words=words,
            args=_for_vllm(trl_config(ctx, settings), ctx, policy, sets, settings),
            train_dataset=Rows.from_dict({"prompt": prompts, "index": order}),
        )
    trainer.add_callback(RunCallback(trainer, sets, settings.evaluate_every))
    return trainer


def _for_vllm(
    config: Any, ctx: "RunContext", policy: Policy, sets: ProblemSets, settings: GRPOSettings
) -> Any:
    """TRL's configuration with the policy's end tokens for vLLM, which reads the model's own, and
    with the longest sequence of the run."""
    if ENGINES[settings.sampler].uses_vllm():
        from lab_llm.sampling.batch_engines import end_tokens

        if config.vllm_max_model_length is None:
            config.vllm_max_model_length = longest_sequence(policy, sets, settings, ctx.evaluators)
        config.generation_kwargs = {"stop_token_ids": list(end_tokens(policy))}
    return config


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
    """TRL's configuration: it samples and steps, while advantages and loss are ours."""
    import torch
    from trl.trainer.grpo_config import GRPOConfig

    rollouts = settings.prompts_per_step * settings.num_generations // num_processes()
    size = micro_batch_size(settings, num_processes())
    parts = rollouts // size
    cuda = torch.cuda.is_available()
    correction = settings.vllm_importance_sampling
    return GRPOConfig(
        output_dir=str(ctx.run_dir / "checkpoints"),
        max_steps=settings.max_steps,
        learning_rate=settings.learning_rate,
        lr_scheduler_type=settings.lr_schedule,
        warmup_steps=settings.warmup_steps,
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        per_device_train_batch_size=size,
        gradient_accumulation_steps=parts // settings.num_minibatches,
        steps_per_generation=parts,
        num_generations=settings.num_generations,
        max_completion_length=settings.max_completion_length,
        temperature=settings.temperature,
        top_p=settings.top_p,
        top_k=settings.top_k,
        beta=settings.beta,  # above 0 TRL scores the reference model
        trust_remote_code=settings.model.trust_remote_code,
        use_vllm=ENGINES[settings.sampler].uses_vllm(),
        vllm_mode=settings.vllm_mode,
        vllm_server_base_url=settings.vllm_server or None,
        vllm_max_model_length=settings.vllm_max_model_length,
        vllm_gpu_memory_utilization=settings.vllm_gpu_memory_utilization,
        vllm_enable_sleep_mode=settings.vllm_enable_sleep_mode,
        vllm_tensor_parallel_size=settings.vllm_tensor_parallel_size,
        vllm_importance_sampling_correction=correction != "none",
        vllm_importance_sampling_mode="sequence_mask" if correction == "none" else correction,
        vllm_importance_sampling_clip_max=settings.vllm_importance_clip,
        deepspeed=deepspeed_path(settings) or None,
        gradient_checkpointing=settings.gradient_checkpointing,
        bf16=settings.model.dtype == "bfloat16",
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

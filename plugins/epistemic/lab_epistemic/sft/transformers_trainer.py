"""TRL's SFTTrainer on responses as they were sampled, with checkpoints and metrics of the run."""

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from datasets import Dataset as Rows
from lab_llm.policy.policy import Policy
from lab_llm.problems import Message, ProblemSets
from lab_llm.text.prompts import encode
from lab_llm.training.run_trainer import RunCallback, RunTrainer
from lab_llm.training.zero import deepspeed_path
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from lab_epistemic.sft.config import SelfSFTConfig, micro_batch_size
from lab_epistemic.sft.file import Response

if TYPE_CHECKING:
    from labrun.runs.context import RunContext

LOGGED = ("loss", "grad_norm", "learning_rate")
"""Metrics that keep their names; docs/metrics.md defines each."""


class ResponseTrainer(RunTrainer, SFTTrainer):
    """Takes the rows in the given order, batch after batch: the run is one epoch to TRL."""

    def __init__(
        self, *, ctx: "RunContext", policy: Policy, order: Sequence[int], **trl: Any
    ) -> None:
        self.ctx, self.policy, self.order = ctx, policy, order
        super().__init__(model=policy.model, processing_class=policy.tokenizer, **trl)

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        del train_dataset
        return self.order

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Send one step's metrics to the run; TRL's others are dropped."""
        del start_time
        self._metrics["train"].clear()
        if "loss" not in logs:
            return
        step = self.state.global_step
        self.check_gradient(logs["grad_norm"])
        found = {name: logs[name] for name in LOGGED}
        self.ctx.log(step, found | {"time/step": self.take_train_seconds()})
        self.ctx.progress(step=step, total=self.args.max_steps, stage="update")


def build_trainer(
    ctx: "RunContext",
    policy: Policy,
    sets: ProblemSets,
    config: SelfSFTConfig,
    responses: Sequence[Response],
) -> ResponseTrainer:
    """The trainer on these responses, ready for `train()`."""
    order = response_order(ctx, len(responses), config)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # notices of transformers and TRL about their own defaults
        trainer = ResponseTrainer(
            ctx=ctx,
            policy=policy,
            order=order,
            args=trl_config(ctx, config),
            train_dataset=Rows.from_dict(rows_of(policy, responses, config.system_prompt)),
        )
    trainer.add_callback(RunCallback(trainer, sets, config.evaluate_every))
    return trainer


def rows_of(
    policy: Policy, responses: Sequence[Response], system_prompt: str = ""
) -> dict[str, list[list[int]]]:
    """Token ids and completion masks: the prompt as a rollout begins, the response as sampled.

    `system_prompt` stands before prompts without a system message; empty: nothing does.
    """
    prompts = [
        encode(policy.tokenizer, _with_system(one.prompt, system_prompt)) for one in responses
    ]
    pairs = list(zip(prompts, (one.token_ids for one in responses), strict=True))
    return {
        "input_ids": [[*prompt, *completion] for prompt, completion in pairs],
        "completion_mask": [[0] * len(p) + [1] * len(c) for p, c in pairs],
    }


def _with_system(prompt: Sequence[Message], system_prompt: str) -> Sequence[Message]:
    if not system_prompt or any(message["role"] == "system" for message in prompt):
        return prompt
    return [{"role": "system", "content": system_prompt}, *prompt]


def response_order(ctx: "RunContext", size: int, config: SelfSFTConfig) -> list[int]:
    """The response of every place of the run, epoch after epoch of fresh permutations.

    Both arms take their sets in the same order, so that a step has the same problems in both.
    """
    wanted = config.max_steps * config.batch_size
    epochs = [ctx.rng("sft", "order", e).permutation(size) for e in range(-(-wanted // size))]
    return [int(i) for epoch in epochs for i in epoch][:wanted]


def trl_config(ctx: "RunContext", config: SelfSFTConfig) -> SFTConfig:
    """TRL's configuration for these settings."""
    cuda = torch.cuda.is_available()
    size = micro_batch_size(config, ctx.world_size)
    return SFTConfig(
        output_dir=str(ctx.run_dir / "checkpoints"),
        max_steps=config.max_steps,
        learning_rate=config.learning_rate,
        lr_scheduler_type="constant",
        weight_decay=config.weight_decay,
        max_grad_norm=config.max_grad_norm,
        per_device_train_batch_size=size,
        gradient_accumulation_steps=config.batch_size // ctx.world_size // size,
        completion_only_loss=True,
        max_length=None,
        packing=False,
        deepspeed=deepspeed_path(config) or None,
        gradient_checkpointing=config.gradient_checkpointing,
        bf16=config.model.dtype == "bfloat16",
        use_cpu=not cuda,
        seed=ctx.derive_seed("trainer") % 2**32,
        save_strategy="steps",
        save_steps=config.save_every,
        logging_strategy="steps",
        logging_steps=1,
        logging_nan_inf_filter=False,
        report_to=[],
        disable_tqdm=True,
        dataloader_pin_memory=False,
        ddp_find_unused_parameters=False,
    )

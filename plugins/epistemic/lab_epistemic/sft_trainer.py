"""TRL's SFTTrainer on responses as they were sampled, with checkpoints and metrics of the run."""

import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from datasets import Dataset as Rows
from lab_llm.policy import Policy
from lab_llm.problems import ProblemSets
from lab_llm.templates import encode
from labrun import DivergedError
from torch import Tensor
from transformers.trainer_callback import TrainerCallback
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from lab_epistemic.sft_config import SelfSFTConfig
from lab_epistemic.sft_pairs import Response

if TYPE_CHECKING:
    from labrun.context import RunContext

LOGGED = ("loss", "grad_norm", "learning_rate")
"""Metrics that keep their names; docs/metrics.md defines each."""


class ResponseTrainer(SFTTrainer):
    """Takes the rows in the given order, batch after batch: the run is one epoch to TRL."""

    def __init__(
        self, *, ctx: "RunContext", policy: Policy, order: Sequence[int], **trl: Any
    ) -> None:
        self.ctx, self.policy, self.order = ctx, policy, order
        self._seconds = 0.0
        super().__init__(model=policy.model, processing_class=policy.tokenizer, **trl)

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        del train_dataset
        return self.order

    def compute_loss(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        loss = super().compute_loss(model, inputs, *args, **kwargs)
        if not torch.isfinite(loss):
            raise DivergedError(f"loss is {loss.item()} at step {self.state.global_step + 1}")
        return loss

    def training_step(self, *args: Any, **kwargs: Any) -> Tensor:
        began = time.perf_counter()
        result = super().training_step(*args, **kwargs)
        self._seconds += time.perf_counter() - began
        return result

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Send one step's metrics to the run; TRL's others are dropped."""
        del start_time
        self._metrics["train"].clear()
        if "loss" not in logs:
            return
        step = self.state.global_step
        if not torch.isfinite(torch.tensor(logs["grad_norm"])):
            raise DivergedError(f"gradient norm is not finite at step {step}")
        found = {name: logs[name] for name in LOGGED}
        self.ctx.log(step, found | {"time/step": self._seconds})
        self.ctx.progress(step=step, total=self.args.max_steps, stage="update")
        self._seconds = 0.0

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """TRL writes a card at every checkpoint; the run directory says all it would."""

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Let transformers write everything that resume needs into the run's own checkpoint."""

        def write(folder: Path) -> None:
            before, self.args.output_dir = self.args.output_dir, str(folder)
            try:
                super(ResponseTrainer, self)._save_checkpoint(model, trial)
            finally:
                self.args.output_dir = before

        self.ctx.save_checkpoint(self.state.global_step, write)


class EvaluateAndStop(TrainerCallback):
    """Evaluates and stops at step boundaries, as the run asks."""

    def __init__(self, ctx: "RunContext", policy: Policy, sets: ProblemSets, every: int) -> None:
        self._ctx, self._policy, self._sets, self._every = ctx, policy, sets, every

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        due = self._every and state.global_step % self._every == 0
        if due and state.global_step < args.max_steps:
            self._ctx.evaluate(self._policy, self._sets, step=state.global_step)
        if self._ctx.should_stop:
            control.should_save = control.should_training_stop = True
        return control


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
            train_dataset=Rows.from_dict(rows_of(policy, responses)),
        )
    trainer.add_callback(EvaluateAndStop(ctx, policy, sets, config.evaluate_every))
    return trainer


def rows_of(policy: Policy, responses: Sequence[Response]) -> dict[str, list[list[int]]]:
    """Token ids and completion masks: the prompt as a rollout begins, the response as sampled."""
    prompts = [encode(policy.tokenizer, one.prompt) for one in responses]
    pairs = list(zip(prompts, (one.token_ids for one in responses), strict=True))
    return {
        "input_ids": [[*prompt, *completion] for prompt, completion in pairs],
        "completion_mask": [[0] * len(p) + [1] * len(c) for p, c in pairs],
    }


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
    return SFTConfig(
        output_dir=str(ctx.run_dir / "checkpoints"),
        max_steps=config.max_steps,
        learning_rate=config.learning_rate,
        lr_scheduler_type="constant",
        weight_decay=config.weight_decay,
        max_grad_norm=config.max_grad_norm,
        per_device_train_batch_size=config.micro_batch_size,
        gradient_accumulation_steps=config.batch_size // config.micro_batch_size,
        completion_only_loss=True,
        max_length=None,
        packing=False,
        gradient_checkpointing=config.gradient_checkpointing,
        bf16=config.model.dtype == "bfloat16" and cuda,
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
    )

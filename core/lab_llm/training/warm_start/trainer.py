"""The trainer component: supervised training of the tiny model from random weights."""

import math
from typing import TYPE_CHECKING, Any

import torch
from labrun.contract import TrainResult
from labrun.errors import LabError, PreemptedError
from labrun.plan import Continues, Plan, Setup
from torch.nn import functional
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import Dataset
from transformers.trainer import Trainer
from transformers.training_args import TrainingArguments

from lab_llm.datasets import countdown as task
from lab_llm.datasets.countdown import CountdownDataset
from lab_llm.policy.policy import Policy, save_policy
from lab_llm.policy.tiny_model import TinyModelConfig
from lab_llm.problems import ProblemSets
from lab_llm.text.prompts import COUNTDOWN_TEMPLATE
from lab_llm.training.run_trainer import RunCallback, RunTrainer
from lab_llm.training.warm_start.batches import IGNORED, Batch, Batches
from lab_llm.training.warm_start.config import WarmStartConfig
from lab_llm.training.warm_start.examples import new_policy
from lab_llm.training.warm_start.validation import validation

if TYPE_CHECKING:
    from labrun.runs.context import RunContext
    from transformers import PreTrainedModel

ADAM_BETAS = (0.9, 0.98)


class WarmStartTrainer:
    """Trains the tiny model from random weights on the countdown task's warm-start splits."""

    def __init__(self, config: WarmStartConfig, sizes: TinyModelConfig | None = None):
        self.config, self.sizes = config, sizes or TinyModelConfig()

    def plan(self, setup: Setup) -> Plan:
        """Sizes of its data. Raises LabError with any data set but countdown."""
        if not isinstance(setup.dataset, CountdownDataset):
            raise LabError(
                f"the warm start teaches countdown, got {type(setup.dataset).__name__}; "
                "choose dataset=countdown"
            )
        c = self.config
        if c.in_domain_share == c.ood_large_share == c.ood_four_share == 0:
            raise LabError("in_domain_share, ood_large_share and ood_four_share are all 0")
        sizes = {f: len(task.identities(f, "warmstart")) for f in task.FAMILIES}
        return Plan(
            {"warmstart_problems": sizes, "examples": c.max_steps * c.batch_size},
            continues=Continues(("save_every",), ("learning_rate",)),  # it falls to max_steps
        )

    def fit(self, ctx: "RunContext", data: ProblemSets | None = None) -> TrainResult:
        """The trained `Policy`, saved to the artifact `tiny` as well.

        `data` is left alone: its training problems belong to post-training. Two runs of equal
        config and seed have equal weights, bit for bit, on one thread, interrupted or not.
        """
        policy = new_policy(self.config, self.sizes)
        trainer = build_trainer(ctx, policy, self.config)
        ctx.progress(total=self.config.max_steps, stage="train")
        if self.config.max_steps > 0:
            trainer.train_in_run()
        step = trainer.state.global_step
        if step < self.config.max_steps:
            raise PreemptedError(f"stopped at step {step} of {self.config.max_steps}")
        policy.model.eval()
        save_policy(policy, ctx.artifact_path("tiny"), template=COUNTDOWN_TEMPLATE)
        return TrainResult(model=policy, step=step)


class Imitation(Trainer):
    """transformers' trainer, whose loss is the imitation's."""

    def compute_loss(self, model: Any, inputs: Any, *_: Any, **__: Any) -> Any:
        plain: Any = self.accelerator.unwrap_model(model)
        return imitation_loss(plain, Batch(**inputs))


class ImitationTrainer(RunTrainer, Imitation):
    """Takes whole batches in the order of the steps: the run is one epoch."""

    def __init__(self, *, ctx: "RunContext", policy: Policy, config: WarmStartConfig, **given: Any):
        self.ctx, self.policy, self.config = ctx, policy, config
        super().__init__(model=policy.model, **given)

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        del train_dataset
        return range(self.config.max_steps)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Send what is due after a step to the run."""
        del start_time
        if "loss" not in logs:
            return
        done, config = self.state.global_step, self.config
        self.check_gradient(logs["grad_norm"])
        self.ctx.progress(step=done)
        last = done == config.max_steps
        if last or done % config.log_every == 0:
            rate = learning_rate(done - 1, config)
            self.ctx.log(done, {"train/loss": logs["loss"], "train/learning_rate": rate})
        if last or done % config.validate_every == 0:
            self.ctx.log(done, self._validated())

    def _validated(self) -> dict[str, float]:
        seed = self.ctx.derive_seed("warmstart", "validation")
        found = validation(self.policy, num_samples=self.config.validation_samples, seed=seed)
        scores = {"pass_rate": found.pass_rate, "epistemic_words": found.epistemic_words}
        return {f"validation/{name}": value for name, value in scores.items()}


class Steps(Dataset[dict[str, torch.Tensor]]):
    """The batch of every step, as a data set with one batch an item."""

    def __init__(self, batches: Batches, number: int) -> None:
        self._batches, self._number = batches, number

    def __len__(self) -> int:
        return self._number

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        batch = self._batches[index]
        return {"ids": batch.ids, "labels": batch.labels}


def build_trainer(ctx: "RunContext", policy: Policy, config: WarmStartConfig) -> ImitationTrainer:
    """The trainer of the run, ready for `train_in_run()`."""
    optimizer = torch.optim.AdamW(
        policy.model.parameters(), lr=1.0, betas=ADAM_BETAS, weight_decay=config.weight_decay
    )
    schedule = LambdaLR(optimizer, lambda step: learning_rate(step, config))
    trainer = ImitationTrainer(
        ctx=ctx,
        policy=policy,
        config=config,
        args=training_arguments(ctx, config),
        train_dataset=Steps(
            Batches(policy, config, ctx.derive_seed("warmstart")), config.max_steps
        ),
        data_collator=lambda items: items[0],
        optimizers=(optimizer, schedule),
    )
    trainer.add_callback(RunCallback(trainer, None, every=0))
    return trainer


def training_arguments(ctx: "RunContext", config: WarmStartConfig) -> TrainingArguments:
    """transformers' configuration for these settings."""
    return TrainingArguments(
        output_dir=str(ctx.run_dir / "checkpoints"),
        max_steps=config.max_steps,
        max_grad_norm=config.max_grad_norm,
        per_device_train_batch_size=1,  # an item is a whole batch
        use_cpu=not torch.cuda.is_available(),
        seed=ctx.derive_seed("trainer") % 2**32,
        save_strategy="steps",
        save_steps=config.save_every,
        logging_strategy="steps",
        logging_steps=1,
        logging_nan_inf_filter=False,
        report_to=[],
        disable_tqdm=True,
        dataloader_pin_memory=False,
        remove_unused_columns=False,
    )


def imitation_loss(model: "PreTrainedModel", batch: Batch) -> torch.Tensor:
    """Mean cross-entropy over the completions' tokens (nats per token).

    Padding stands on the right of causal attention, so that no mask is needed.
    """
    hidden = model.base_model(input_ids=batch.ids, use_cache=False).last_hidden_state[:, :-1]
    labels = batch.labels[:, 1:]
    kept = labels != IGNORED
    head: Any = model.get_output_embeddings()
    return functional.cross_entropy(head(hidden[kept]), labels[kept])


def learning_rate(step: int, config: WarmStartConfig) -> float:
    """The rate of update `step` (from 0): linear warm-up times a cosine to the final share."""
    warmup = min(1.0, (step + 1) / max(1, config.warmup_steps))
    cosine = 0.5 * (1 + math.cos(math.pi * step / max(1, config.max_steps)))
    floor = config.final_learning_rate_share
    return config.learning_rate * warmup * (floor + (1 - floor) * cosine)

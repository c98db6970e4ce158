"""The trainer component: supervised training of the tiny model from random weights."""

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from labrun.attempts.loading import loading
from labrun.contract import TrainResult
from labrun.errors import DivergedError, LabError, PreemptedError
from labrun.plan import Continues, Plan, Setup
from safetensors.torch import load_model, save_model
from torch.nn import functional

from lab_llm.datasets import countdown as task
from lab_llm.datasets.countdown import CountdownDataset
from lab_llm.policy.policy import Policy, save_policy
from lab_llm.policy.tiny_model import TinyModelConfig
from lab_llm.problems import ProblemSets
from lab_llm.text.prompts import COUNTDOWN_TEMPLATE
from lab_llm.training.checkpoint_files import first_unreadable
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
        policy.model.to("cuda" if torch.cuda.is_available() else "cpu")  # pyright: ignore
        optimizer = torch.optim.AdamW(
            policy.model.parameters(), betas=ADAM_BETAS, weight_decay=self.config.weight_decay
        )
        start = _restore(ctx.resume_from, policy, optimizer) if ctx.resume_from else 0
        batches = Batches(policy, self.config, ctx.derive_seed("warmstart"))
        ctx.progress(total=self.config.max_steps, stage="train")
        for step in range(start, self.config.max_steps):
            self._checkpoint_if_due(ctx, step, start, policy, optimizer)
            loss = self._update(policy, optimizer, batches[step], step)
            self._report(ctx, step + 1, loss, policy)
        policy.model.eval()
        save_policy(policy, ctx.artifact_path("tiny"), template=COUNTDOWN_TEMPLATE)
        if start < self.config.max_steps:
            _save(ctx, self.config.max_steps, policy, optimizer)
        return TrainResult(model=policy, step=self.config.max_steps)

    def _checkpoint_if_due(
        self,
        ctx: "RunContext",
        step: int,
        start: int,
        policy: Policy,
        optimizer: torch.optim.Optimizer,
    ) -> None:
        """Save before step `step` every `save_every`, and before an early stop."""
        if ctx.should_stop or (step > start and step % self.config.save_every == 0):
            _save(ctx, step, policy, optimizer)
        if ctx.should_stop:
            raise PreemptedError(f"stopped at step {step} of {self.config.max_steps}")

    def _update(
        self, policy: Policy, optimizer: torch.optim.Optimizer, batch: Batch, step: int
    ) -> float:
        policy.model.train()
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, self.config)
        loss = imitation_loss(policy.model, batch.to(policy.model.device))
        value = loss.item()
        if not math.isfinite(value):
            raise DivergedError(f"warm start: loss {value} at step {step}")
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(policy.model.parameters(), self.config.max_grad_norm)
        optimizer.step()
        return value

    def _report(self, ctx: "RunContext", done: int, loss: float, policy: Policy) -> None:
        """Log what is due after `done` updates, the last of them with `loss`."""
        ctx.progress(step=done)
        last = done == self.config.max_steps
        if last or done % self.config.log_every == 0:
            rate = learning_rate(done - 1, self.config)
            ctx.log(done, {"train/loss": loss, "train/learning_rate": rate})
        if last or done % self.config.validate_every == 0:
            seed = ctx.derive_seed("warmstart", "validation")
            measured = validation(policy, num_samples=self.config.validation_samples, seed=seed)
            scores = {"pass_rate": measured.pass_rate, "epistemic_words": measured.epistemic_words}
            ctx.log(done, {f"validation/{name}": value for name, value in scores.items()})


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


def _save(ctx: "RunContext", step: int, policy: Policy, optimizer: torch.optim.Optimizer) -> None:
    def write(directory: Path) -> None:
        save_model(policy.model, str(directory / "model.safetensors"))
        torch.save(optimizer.state_dict(), directory / "optimizer.pt")
        (directory / "trainer.json").write_text(json.dumps({"step": step}))

    ctx.save_checkpoint(step, write)


def _restore(directory: Path, policy: Policy, optimizer: torch.optim.Optimizer) -> int:
    with loading(directory, culprit=first_unreadable):
        load_model(policy.model, directory / "model.safetensors")
        optimizer.load_state_dict(torch.load(directory / "optimizer.pt", weights_only=True))
        return int(json.loads((directory / "trainer.json").read_text())["step"])

"""Supervised warm start: the tiny model learns countdown by imitating written searches."""

import json
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from labrun.attempts.loading import loading
from labrun.contract import TrainResult
from labrun.errors import DivergedError, LabError, PreemptedError
from labrun.plan import Plan, Setup
from safetensors.torch import load_model, save_model
from torch.nn import functional

from lab_llm.datasets import countdown as task
from lab_llm.datasets.countdown import CountdownDataset
from lab_llm.grading.grades import grade_all
from lab_llm.policy.policy import Policy, save_policy
from lab_llm.policy.tiny_model import TinyModelConfig, build_model, train_tokenizer
from lab_llm.problems import Problem, ProblemSets
from lab_llm.sampling.sampler import sample
from lab_llm.text.completion_text import completion_text
from lab_llm.text.prompts import COUNTDOWN_TEMPLATE, encode
from lab_llm.training.checkpoint_files import first_unreadable
from lab_llm.training.warm_start_config import WarmStartConfig

if TYPE_CHECKING:
    from labrun.runs.context import RunContext
    from transformers import PreTrainedModel

CORPUS_SIZE = 3000
BATCHES_SORTED_TOGETHER = 8
ADAM_BETAS = (0.9, 0.98)
IGNORED = -100
MAX_NEW_TOKENS = 128


@dataclass(frozen=True)
class Example:
    """A question to the user's side and the completion to imitate."""

    question: str
    completion: str


def draw_example(rng: random.Random, config: WarmStartConfig) -> Example:
    """One example of the mixture, from the warm-start splits alone.

    A search in words without a reference; or, in `ref_share` of the examples, a reference of any
    richness and a confident answer with its expression.
    """
    shares = (config.in_domain_share, config.ood_large_share, config.ood_four_share)
    family = rng.choices(("in_domain", "ood_large", "ood_four"), shares)[0]
    identity = rng.choice(task.identities(family, "warmstart"))
    numbers, target = rng.sample(identity[0], len(identity[0])), identity[1]
    if rng.random() >= config.ref_share:
        searched = task.search_trace(identity, rng, style=task.SEARCH)
        return Example(task.question(numbers, target), searched)
    solution = rng.choice(task.solutions(identity))
    ref = task.reference(identity, solution, rng.choice(task.RICHNESS), rng)
    answer = task.search_trace(identity, rng, style=task.CONFIDENT, solution=solution)
    return Example(task.question(numbers, target, ref=ref), answer)


def new_policy(config: WarmStartConfig, sizes: TinyModelConfig) -> Policy:
    """An untrained model and its tokenizer, a pure function of the arguments."""
    rng = random.Random(f"warmstart/corpus/{config.model_seed}")
    examples = (draw_example(rng, config) for _ in range(CORPUS_SIZE))
    tokenizer = train_tokenizer(
        (f"user\n{e.question}\nassistant\n{e.completion}" for e in examples), sizes
    )
    return Policy(build_model(tokenizer, sizes, seed=config.model_seed), tokenizer)


def chat_ids(policy: Policy, questions: Sequence[str]) -> list[list[int]]:
    """Token ids of each question as a chat that waits for the assistant."""
    return [encode(policy.tokenizer, [{"role": "user", "content": q}]) for q in questions]


@dataclass(frozen=True)
class Batch:
    """Right-padded token ids (B, T), and labels (B, T): the completion's ids, else IGNORED."""

    ids: torch.Tensor
    labels: torch.Tensor


class Batches:
    """Batches by step: `batches[step]` is a pure function of (config, seed, step).

    BATCHES_SORTED_TOGETHER batches are drawn at once and sorted by length, which saves padding;
    the last such chunk is remembered.
    """

    def __init__(self, policy: Policy, config: WarmStartConfig, seed: int):
        self.policy, self.config, self.seed = policy, config, seed
        self._chunk = lru_cache(maxsize=1)(self._draw_chunk)

    def __getitem__(self, step: int) -> Batch:
        chunk, place = divmod(step, BATCHES_SORTED_TOGETHER)
        return self._collate(self._chunk(chunk)[place])

    def _draw_chunk(self, chunk: int) -> list[list[tuple[list[int], list[int]]]]:
        rng, size = random.Random(f"{self.seed}/{chunk}"), self.config.batch_size
        num = size * BATCHES_SORTED_TOGETHER
        examples = [draw_example(rng, self.config) for _ in range(num)]
        prompts = chat_ids(self.policy, [e.question for e in examples])
        texts = [f"{e.completion}{self.policy.tokenizer.eos_token}" for e in examples]
        completions = self.policy.tokenizer(texts, add_special_tokens=False)["input_ids"]
        pairs = list(zip(prompts, completions, strict=True))  # pyright: ignore
        pairs.sort(key=lambda pair: len(pair[0]) + len(pair[1]))
        batches = [pairs[i : i + size] for i in range(0, num, size)]
        rng.shuffle(batches)
        return batches

    def _collate(self, pairs: Sequence[tuple[list[int], list[int]]]) -> Batch:
        longest = max(len(p) + len(c) for p, c in pairs)
        pad = self.policy.tokenizer.pad_token_id
        ids = [p + c + [pad] * (longest - len(p) - len(c)) for p, c in pairs]
        labels = [
            [IGNORED] * len(p) + c + [IGNORED] * (longest - len(p) - len(c)) for p, c in pairs
        ]
        return Batch(torch.tensor(ids), torch.tensor(labels))


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


@dataclass(frozen=True)
class Measured:
    """Pass rate in [0, 1] and epistemic words per completion, means over `n` completions."""

    pass_rate: float
    epistemic_words: float
    n: int


def measure(
    policy: Policy,
    problems: Sequence[Problem],
    *,
    num_samples: int,
    generator: torch.Generator,
    refs: Sequence[str] | None = None,
) -> Measured:
    """How the policy does at temperature 1, with a reference for each problem where given."""
    questions = [str(problem.prompt[-1]["content"]) for problem in problems]
    if refs is not None:
        questions = [f"{q}\nref: {ref}" for q, ref in zip(questions, refs, strict=True)]
    tokenizer: Any = policy.tokenizer
    prompts = chat_ids(policy, questions)
    rollouts = sample(
        policy.model,
        prompts,
        num_samples=num_samples,
        max_new_tokens=MAX_NEW_TOKENS,
        temperature=1.0,
        eos_token_ids=[tokenizer.eos_token_id],
        pad_token_id=tokenizer.pad_token_id,
        generator=generator,
    )
    asked = [i // num_samples for i in range(len(rollouts.completion_ids))]
    texts = [
        completion_text(tokenizer, ids, prompt_ids=prompts[i])
        for i, ids in zip(asked, rollouts.completion_ids, strict=True)
    ]
    rewards = grade_all(task.verify, [problems[i] for i in asked], texts).rewards
    words = [sum(text.split().count(w) for w in task.EPISTEMIC_WORDS) for text in texts]
    return Measured(sum(rewards) / len(rewards), sum(words) / len(words), len(texts))


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
        return Plan({"warmstart_problems": sizes, "examples": c.max_steps * c.batch_size})

    def fit(self, ctx: "RunContext", data: ProblemSets | None = None) -> TrainResult:
        """The trained `Policy`, saved to the artifact `tiny` as well.

        `data` is left alone: its training problems belong to post-training. Two runs of equal
        config and seed have equal weights, bit for bit, on one thread, interrupted or not.
        """
        policy = new_policy(self.config, self.sizes)
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
        loss = imitation_loss(policy.model, batch)
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


def validation(policy: Policy, *, num_samples: int, seed: int) -> Measured:
    """The policy on every in-domain problem of the validation split, at temperature 1."""
    held = task.identities("in_domain", "validation")
    problems = task.problems("in_domain", "validation", len(held), seed)
    policy.model.eval()
    generator = torch.Generator().manual_seed(seed)
    return measure(policy, problems, num_samples=num_samples, generator=generator)


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

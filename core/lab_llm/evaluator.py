"""Accuracy, pass@k, length and epistemic words of sampled completions."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any

import torch
from labrun.contract import Score
from labrun.errors import LabError

from lab_llm.decoder import Decoder
from lab_llm.evaluator_config import AccuracyConfig
from lab_llm.pass_at_k import avg_at_k, pass_at_k
from lab_llm.policy import Policy
from lab_llm.problems import Problem, ProblemSets, Verify
from lab_llm.sampler import sample
from lab_llm.templates import encode
from lab_llm.verbalization import epistemic_count, epistemic_words

if TYPE_CHECKING:
    from labrun.context import RunContext

Sampling = Callable[[Policy, list[list[int]], AccuracyConfig, torch.Generator], list[list[int]]]
"""Completion ids of every prompt, num_samples each, prompt by prompt."""


@dataclass(frozen=True)
class Graded:
    """One problem with the texts, token counts and rewards of its samples."""

    problem: Problem
    texts: Sequence[str]
    lengths: Sequence[int]
    rewards: Sequence[float]


class AccuracyEvaluator:
    """Samples every evaluation set and scores it.

    Metrics of each set, each with one item per problem: `accuracy` (mean reward of its samples,
    avg@k), `pass@{k}` (unbiased), `completion_length` (tokens, the end token included),
    `epistemic_words` and `epistemic_count` (a completion, mean over the samples).
    """

    def __init__(self, config: AccuracyConfig):
        self.config = config

    def preflight(self) -> dict[str, object]:
        config = self.config
        largest = max(config.pass_k, default=0)
        if largest > config.num_samples:
            raise LabError(
                f"evaluator.pass_k={list(config.pass_k)} needs num_samples >= {largest}; "
                f"it is {config.num_samples}"
            )
        if config.temperature == 0 and config.num_samples > 1:
            raise LabError(
                f"evaluator.temperature=0 gives num_samples={config.num_samples} equal completions;"
                " set num_samples=1 or a temperature above 0"
            )
        return {"metric": f"avg@{config.num_samples}", "pass_k": list(config.pass_k)}

    def evaluate(self, ctx: "RunContext", model: Policy, data: ProblemSets) -> list[Score]:
        """Scores of every set; the completions go to `artifacts/completions/<set>.jsonl`.

        Each set has a generator of its own, seeded by the run's seed and the set's name: an
        evaluation leaves all other random states alone, and a later one draws the same numbers.
        The file holds the last evaluation's completions.
        """
        self.preflight()
        was_training = model.model.training
        model.model.eval()
        try:
            sampling = _choose_sampling(ctx, model)
            return [
                score
                for name, problems in data.evaluation.items()
                for score in self._evaluate_set(ctx, model, name, problems, data.verify, sampling)
            ]
        finally:
            model.model.train(was_training)

    def _evaluate_set(
        self,
        ctx: "RunContext",
        policy: Policy,
        name: str,
        problems: Sequence[Problem],
        verify: Verify,
        sampling: Sampling,
    ) -> list[Score]:
        chosen = problems[: self.config.max_problems]
        if not chosen:
            raise LabError(f"evaluation set {name!r} has no problems")
        generator = torch.Generator(device=policy.model.device)
        generator.manual_seed(ctx.derive_seed("evaluate", name))
        graded: list[Graded] = []
        step = max(1, self.config.batch_size // self.config.num_samples)
        for start in range(0, len(chosen), step):
            batch = chosen[start : start + step]
            prompts = [encode(policy.tokenizer, problem.prompt) for problem in batch]
            completions = sampling(policy, prompts, self.config, generator)
            graded.extend(self._grade(policy, batch, completions, verify))
            ctx.heartbeat()
        _write_completions(ctx, name, graded)
        return self._scores(name, graded)

    def _grade(
        self,
        policy: Policy,
        problems: Sequence[Problem],
        completions: list[list[int]],
        verify: Verify,
    ) -> Iterator[Graded]:
        num = self.config.num_samples
        for row, problem in enumerate(problems):
            ids = completions[row * num : (row + 1) * num]
            texts = [str(policy.tokenizer.decode(i, skip_special_tokens=True)) for i in ids]
            rewards = [verify(problem, text) for text in texts]
            yield Graded(problem, texts, [len(i) for i in ids], rewards)

    def _scores(self, name: str, graded: list[Graded]) -> list[Score]:
        num = self.config.num_samples
        items = {"accuracy": [avg_at_k(g.rewards) for g in graded]}
        for k in self.config.pass_k:
            correct = [sum(reward == 1.0 for reward in g.rewards) for g in graded]
            items[f"pass@{k}"] = [pass_at_k(num, c, k) for c in correct]
        items["completion_length"] = [fmean(g.lengths) for g in graded]
        items["epistemic_words"] = [fmean(map(epistemic_words, g.texts)) for g in graded]
        items["epistemic_count"] = [fmean(map(epistemic_count, g.texts)) for g in graded]
        return [
            Score(task=name, metric=metric, value=fmean(values), n=len(values), items=values)
            for metric, values in items.items()
        ]


def _choose_sampling(ctx: "RunContext", policy: Policy) -> Sampling:
    """The toolkit's sampler, or transformers' where it refuses the model; the run notes that."""
    try:
        Decoder(policy.model)
    except LabError as refusal:
        ctx.note(f"evaluation samples with transformers' generate: {refusal}")
        return _sample_by_generate
    return _sample


def _sample(
    policy: Policy, prompts: list[list[int]], config: AccuracyConfig, generator: torch.Generator
) -> list[list[int]]:
    return sample(
        policy.model,
        prompts,
        num_samples=config.num_samples,
        max_new_tokens=config.max_new_tokens,
        temperature=config.temperature,
        top_p=config.top_p,
        top_k=config.top_k,
        eos_token_ids=end_tokens(policy),
        pad_token_id=_pad_token(policy),
        generator=generator,
    ).completion_ids


def _sample_by_generate(
    policy: Policy, prompts: list[list[int]], config: AccuracyConfig, generator: torch.Generator
) -> list[list[int]]:
    """The same by transformers' `generate`, for architectures that the sampler doesn't know.

    `generate` takes no generator, but reads the global one of the model's device: that is seeded by
    one number from `generator`, and set back afterwards.
    """
    model, pad, ends = policy.model, _pad_token(policy), end_tokens(policy)
    longest = max(map(len, prompts))
    ids = torch.tensor([[pad] * (longest - len(prompt)) + prompt for prompt in prompts])
    real = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts])
    seed = torch.randint(2**62, (), generator=generator, device=generator.device).item()
    generate: Any = model.generate
    with _global_generator(model.device, seed=int(seed)), torch.inference_mode():
        rows = generate(
            ids.to(model.device),
            attention_mask=real.to(model.device),
            max_new_tokens=config.max_new_tokens,
            num_return_sequences=config.num_samples,
            eos_token_id=ends,
            pad_token_id=pad,
            **_generate_options(config),
        )
    return [_until_end(row, ends) for row in rows[:, longest:].tolist()]


@contextmanager
def _global_generator(device: torch.device, *, seed: int) -> Iterator[None]:
    """The device's global generator seeded; its old state comes back at the end."""
    on_gpu = device.type == "cuda"
    own = torch.cuda.default_generators[device.index] if on_gpu else torch.default_generator
    before = own.get_state()
    try:
        own.manual_seed(seed)
        yield
    finally:
        own.set_state(before)


def _generate_options(config: AccuracyConfig) -> dict[str, object]:
    if config.temperature == 0:
        return {"do_sample": False}
    return {
        "do_sample": True,
        "temperature": config.temperature,
        "top_p": config.top_p,
        "top_k": config.top_k,
    }


def _until_end(ids: list[int], ends: Sequence[int]) -> list[int]:
    end = next((place for place, token in enumerate(ids) if token in ends), len(ids))
    return ids[: end + 1]


def end_tokens(policy: Policy) -> list[int]:
    """The tokens that end a completion: the model's, and its tokenizer's."""
    settings = policy.model.generation_config
    own = settings.eos_token_id if settings is not None else None
    listed: list[Any] = [*(own if isinstance(own, list) else [own]), policy.tokenizer.eos_token_id]
    return sorted({int(token) for token in listed if token is not None})


def _pad_token(policy: Policy) -> int:
    pad: Any = policy.tokenizer.pad_token_id
    return int(pad)


def _write_completions(ctx: "RunContext", name: str, graded: list[Graded]) -> None:
    path = ctx.artifact_path(f"completions/{name}.jsonl")
    with path.open("w", encoding="utf-8") as out:
        for g in graded:
            for index, (text, reward) in enumerate(zip(g.texts, g.rewards, strict=True)):
                line = {"id": g.problem.id, "sample": index, "completion": text, "correct": reward}
                out.write(json.dumps(line, ensure_ascii=False) + "\n")

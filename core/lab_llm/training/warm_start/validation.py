"""How often a policy solves countdown problems, and in how many epistemic words."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from lab_llm.datasets import countdown as task
from lab_llm.grading.grades import grade_all
from lab_llm.policy.policy import Policy
from lab_llm.problems import Problem
from lab_llm.sampling.sampler import sample
from lab_llm.text.completion_text import completion_text
from lab_llm.training.warm_start.batches import chat_ids

MAX_NEW_TOKENS = 128


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
    questions = [problem.prompt[-1]["content"] for problem in problems]
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


def validation(policy: Policy, *, num_samples: int, seed: int) -> Measured:
    """The policy on every in-domain problem of the validation split, at temperature 1."""
    held = task.identities("in_domain", "validation")
    problems = task.problems("in_domain", "validation", len(held), seed)
    policy.model.eval()
    generator = torch.Generator().manual_seed(seed)
    return measure(policy, problems, num_samples=num_samples, generator=generator)

"""What is imitated: written searches, and answers to a reference."""

import random
from dataclasses import dataclass

from lab_llm.datasets import countdown as task
from lab_llm.policy.policy import Policy
from lab_llm.policy.tiny_model import TinyModelConfig, build_model, train_tokenizer
from lab_llm.training.warm_start.config import WarmStartConfig

CORPUS_SIZE = 3000


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

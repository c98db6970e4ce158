"""Batches of examples, each a pure function of the settings, the seed and the step."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch

from lab_llm.policy.policy import Policy
from lab_llm.text.prompts import encode
from lab_llm.training.warm_start.config import WarmStartConfig
from lab_llm.training.warm_start.examples import draw_example

BATCHES_SORTED_TOGETHER = 8
IGNORED = -100


def chat_ids(policy: Policy, questions: Sequence[str]) -> list[list[int]]:
    """Token ids of each question as a chat that waits for the assistant."""
    return [encode(policy.tokenizer, [{"role": "user", "content": q}]) for q in questions]


@dataclass(frozen=True)
class Batch:
    """Right-padded token ids (B, T), and labels (B, T): the completion's ids, else IGNORED."""

    ids: torch.Tensor
    labels: torch.Tensor

    def to(self, device: torch.device) -> "Batch":
        """The same on another device."""
        return Batch(self.ids.to(device), self.labels.to(device))


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
        pairs = list(zip(prompts, completions, strict=True))
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

"""Rollouts by the toolkit's own decoder, in the form that TRL takes them."""

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import torch

from lab_llm.policy.beats import no_beat
from lab_llm.policy.engine import Beat
from lab_llm.policy.policy import Policy
from lab_llm.problems import Message
from lab_llm.sampling.sampler import sample
from lab_llm.text.prompts import encode
from lab_llm.training.config import GRPOSettings


def decoded_rollouts(
    policy: Policy,
    prompts: Sequence[Sequence[Message]],
    settings: GRPOSettings,
    *,
    seed: int,
    eos_token_ids: Sequence[int],
    pad_token_id: int,
    beat: Beat = no_beat,
) -> dict[str, Any]:
    """A completion of each prompt: `prompt_ids`, `completion_ids`, `logprobs`, a list each.

    Equal prompts that follow each other are read once.
    """
    runs = [(list(prompt), len(list(same))) for prompt, same in groupby(prompts)]
    sizes = {size for _, size in runs}
    if len(sizes) > 1:
        runs, sizes = [(list(prompt), 1) for prompt in prompts], {1}
    (size,) = sizes
    ids = [encode(policy.tokenizer, prompt) for prompt, _ in runs]
    sampled = sample(
        policy.model,
        ids,
        num_samples=size,
        max_new_tokens=settings.max_completion_length,
        temperature=settings.temperature,
        top_p=settings.top_p,
        top_k=settings.top_k,
        eos_token_ids=eos_token_ids,
        pad_token_id=pad_token_id,
        generator=torch.Generator().manual_seed(seed),
        beat=beat,
    )
    return {
        "prompt_ids": [prompt for prompt in ids for _ in range(size)],
        "completion_ids": sampled.completion_ids,
        "logprobs": sampled.logprobs,
    }
